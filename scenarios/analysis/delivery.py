"""Findings for every load, channel by channel: no message lost, altered, delivered twice or made up.

Where several groups read a channel, each must get every message, and is judged by itself: a message that one group got
may be missing from another, and a message that each group got once was not delivered twice.
"""

from __future__ import annotations

from brokerbench.scenarios.checkers import corruption, duplicates, loss, phantom
from brokerbench.scenarios.checkers.findings import combined, of_group
from brokerbench.scenarios.checkers.index import channel_index
from brokerbench.scenarios.checkers.index.channel_index import ChannelIndex
from brokerbench.scenarios.checkers.sharding import reduction
from brokerbench.scenarios.history import History, saved_history
from brokerbench.scenarios.verdicts import Finding

PROPERTIES = ("delivery.no_loss", "delivery.intact", "delivery.no_duplicate", "delivery.no_phantom")


def findings(history: History) -> list[Finding]:
    """One finding for each of PROPERTIES, over all channels and groups; of a saved history in little memory.

    Raises ValueError for a damaged history, OSError where the disk has no room to split it into shards.
    """
    if (directory := saved_history.directory_of(history)) is not None:
        return reduction.judged(directory)
    parts = [
        _judged(group)
        for channel in channel_index.channels(history)
        for group in channel_index.of_channel(history, channel).by_group()
    ]
    return [combined(name, (part[at] for part in parts)) for at, name in enumerate(PROPERTIES)]


def _judged(index: ChannelIndex) -> tuple[Finding, ...]:
    """In the order of PROPERTIES."""
    delivered = index.delivered
    found = (
        loss.lost(index, delivered, drained=index.drained()),
        corruption.altered(index, delivered),
        duplicates.delivered_again(index, delivered),
        phantom.phantoms(index, delivered),
    )
    return tuple(of_group(finding, index.group) for finding in found)
