"""Findings for every load, channel by channel: no message lost, altered, delivered twice or made up; all facts agree.

Where several groups read a channel, each must get every message, and is judged by itself: a message that one group got
may be missing from another, and a message that each group got once was not delivered twice. What a broker tells of a
message (its key, place, time and outcome) is the same for all.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial

from brokerbench.scenarios.checkers import arrivals, layout, order
from brokerbench.scenarios.checkers.consistency import or_not_told
from brokerbench.scenarios.checkers.findings import combined, of_group
from brokerbench.scenarios.checkers.index import channel_index
from brokerbench.scenarios.checkers.index.channel_index import ChannelIndex
from brokerbench.scenarios.checkers.sharding import reduction
from brokerbench.scenarios.checkers.sharding.reduction import OF_CHANNELS, OF_GROUPS
from brokerbench.scenarios.history import History, saved_history
from brokerbench.scenarios.verdicts import Finding

ARRIVALS = ("delivery.no_loss", "delivery.intact", "delivery.no_duplicate", "delivery.no_phantom")
CONSISTENCY = ("delivery.count", *OF_CHANNELS, *layout.NAMES)
PROPERTIES = (*ARRIVALS, *CONSISTENCY)


def findings(history: History, per_key: str = "") -> list[Finding]:
    """One finding for each of PROPERTIES, over all channels and groups; of a saved history in little memory.

    ``per_key``: one more under this name, order per producer and key.

    Raises ValueError for a damaged history, OSError where the disk has no room to split it into shards.
    """
    if (directory := saved_history.directory_of(history)) is not None:
        return reduction.judged(directory, per_key=per_key)
    channels = [channel_index.of_channel(history, channel) for channel in channel_index.channels(history)]
    groups = [group for channel in channels for group in channel.by_group()]
    in_order = [combined(per_key, map(partial(_per_key, per_key), groups))] if per_key else []
    return [*over(channels), *in_order]


def _per_key(name: str, index: ChannelIndex) -> Finding:
    producers = index.history.producers(channel=index.channel)
    return of_group(order.per_key(name, index, index.delivered, producers), index.group)


def over(channels: Iterable[ChannelIndex]) -> list[Finding]:
    """One finding for each of PROPERTIES, over all these channels and their groups."""
    parts: dict[str, list[Finding]] = {name: [] for name in PROPERTIES}
    for index in channels:
        for group in index.by_group():
            for finding in _of_group(group):
                parts[finding.property].append(of_group(finding, group.group))
        for finding in _of_channel(index):
            parts[finding.property].append(finding)
    return [or_not_told(combined(name, found)) for name, found in parts.items()]


def consistency(index: ChannelIndex) -> list[Finding]:
    """One finding for each of CONSISTENCY, of one channel."""
    counts = [of_group(OF_GROUPS["delivery.count"](group), group.group) for group in index.by_group()]
    return list(map(or_not_told, [combined("delivery.count", counts), *_of_channel(index)]))


def _of_group(index: ChannelIndex) -> list[Finding]:
    lost = arrivals.lost(index, index.delivered, drained=index.drained())
    return [lost, *(check(index) for check in OF_GROUPS.values())]


def _of_channel(index: ChannelIndex) -> list[Finding]:
    return [*(check(index) for check in OF_CHANNELS.values()), *layout.judged(index)]
