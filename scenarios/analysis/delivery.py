"""Findings for every load, channel by channel: no message lost, altered, delivered twice or made up.

Where several groups read a channel, each must get every message, and is judged by itself: a message that one group got
may be missing from another, and a message that each group got once was not delivered twice.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial

from brokerbench.scenarios.checkers import arrivals, order
from brokerbench.scenarios.checkers.findings import combined, of_group
from brokerbench.scenarios.checkers.index import channel_index
from brokerbench.scenarios.checkers.index.channel_index import ChannelIndex
from brokerbench.scenarios.checkers.sharding import reduction
from brokerbench.scenarios.history import History, saved_history
from brokerbench.scenarios.verdicts import Finding

PROPERTIES = ("delivery.no_loss", "delivery.intact", "delivery.no_duplicate", "delivery.no_phantom")


def findings(history: History, per_key: str = "") -> list[Finding]:
    """One finding for each of PROPERTIES, over all channels and groups; of a saved history in little memory.

    ``per_key``: one more under this name, order per producer and key.

    Raises ValueError for a damaged history, OSError where the disk has no room to split it into shards.
    """
    if (directory := saved_history.directory_of(history)) is not None:
        return reduction.judged(directory, per_key=per_key)
    indexes = (channel_index.of_channel(history, channel) for channel in channel_index.channels(history))
    groups = [group for index in indexes for group in index.by_group()]
    in_order = [combined(per_key, map(partial(_per_key, per_key), groups))] if per_key else []
    return [*over(groups), *in_order]


def _per_key(name: str, index: ChannelIndex) -> Finding:
    producers = index.history.producers(channel=index.channel)
    return of_group(order.per_key(name, index, index.delivered, producers), index.group)


def over(indexes: Iterable[ChannelIndex]) -> list[Finding]:
    """One finding for each of PROPERTIES, over all these channels or groups."""
    parts = [_judged(index) for index in indexes]
    return [combined(name, (part[at] for part in parts)) for at, name in enumerate(PROPERTIES)]


def _judged(index: ChannelIndex) -> tuple[Finding, ...]:
    """In the order of PROPERTIES."""
    delivered = index.delivered
    found = (
        arrivals.lost(index, delivered, drained=index.drained()),
        arrivals.altered(index, delivered),
        arrivals.delivered_again(index, delivered),
        arrivals.phantoms(index, delivered),
    )
    return tuple(of_group(finding, index.group) for finding in found)
