"""Findings of a history on disk that need not fit in memory.

The same checkers as for one in memory, on one shard after the other: the findings are the same, offenders included.
Several groups of one channel are judged one by one (``delivery``).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from scenarios.checkers import corruption, duplicates, loss, phantom, record
from scenarios.checkers.findings import added, combined, of_group
from scenarios.checkers.record import Record
from scenarios.checkers.shards import MESSAGES_PER_SHARD, cut
from scenarios.verdicts import Finding

Check = Callable[[Record], Finding]
Stream = tuple[str, str]
"""A channel, and a group where it has several."""

DELIVERY: Mapping[str, Check] = {
    "delivery.intact": lambda part: corruption.altered(part, part.delivered),
    "delivery.no_duplicate": lambda part: duplicates.delivered_again(part, part.delivered),
    "delivery.no_phantom": lambda part: phantom.phantoms(part, part.delivered),
}
"""Checks that add up over messages. Loss is not among them: it is weighed against the whole channel."""


def judged(
    directory: Path, checks: Mapping[str, Check] = DELIVERY, messages_per_shard: int = MESSAGES_PER_SHARD
) -> list[Finding]:
    """``delivery.no_loss``, then one finding for each of ``checks``, over all channels and groups of the history.

    A check must say of each message, or of each line of one producer and key, what it says without looking at others.
    Raises ValueError for a damaged history, OSError where the disk has no room for the shards.
    """
    searches: dict[Stream, list[loss.Search]] = defaultdict(list)
    found: dict[tuple[Stream, str], list[Finding]] = defaultdict(list)
    drained: dict[Stream, bool] = {}
    with cut(directory, messages_per_shard) as shards:
        for shard in shards:
            for channel in record.channels(shard):
                for part in record.of_channel(shard, channel, shards.whole).by_group():
                    stream = channel, part.group
                    drained[stream] = part.drained()
                    searches[stream].append(loss.search(part, part.delivered, drained=part.drained()))
                    for name, check in checks.items():
                        found[stream, name].append(check(part))
    lost = [of_group(loss.claimed(parts, drained=drained[stream]), stream[1]) for stream, parts in searches.items()]
    return [
        combined("delivery.no_loss", lost),
        *(combined(name, _of_streams(found, list(searches), name)) for name in checks),
    ]


def _of_streams(
    found: Mapping[tuple[Stream, str], Sequence[Finding]], streams: Sequence[Stream], name: str
) -> list[Finding]:
    return [of_group(added(found[stream, name]), stream[1]) for stream in streams]
