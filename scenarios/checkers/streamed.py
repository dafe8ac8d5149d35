"""Findings of a history on disk that need not fit in memory.

The same checkers as for one in memory, on one shard after the other: the findings are the same, offenders included.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from scenarios.checkers import corruption, duplicates, loss, phantom, record
from scenarios.checkers.findings import added, combined
from scenarios.checkers.record import Record
from scenarios.checkers.shards import MESSAGES_PER_SHARD, cut
from scenarios.verdicts import Finding

Check = Callable[[Record], Finding]

DELIVERY: Mapping[str, Check] = {
    "delivery.intact": lambda part: corruption.altered(part, part.delivered),
    "delivery.no_duplicate": lambda part: duplicates.delivered_again(part, part.delivered),
    "delivery.no_phantom": lambda part: phantom.phantoms(part, part.delivered),
}
"""Checks that add up over messages. Loss is not among them: it is weighed against the whole channel."""


def judged(
    directory: Path, checks: Mapping[str, Check] = DELIVERY, messages_per_shard: int = MESSAGES_PER_SHARD
) -> list[Finding]:
    """``delivery.no_loss``, then one finding for each of ``checks``, over all channels of the history.

    A check must say of each message, or of each line of one producer and key, what it says without looking at others.
    Raises ValueError for a damaged history, OSError where the disk has no room for the shards.
    """
    searches: dict[str, list[loss.Search]] = defaultdict(list)
    found: dict[tuple[str, str], list[Finding]] = defaultdict(list)
    drained: dict[str, bool] = {}
    with cut(directory, messages_per_shard) as shards:
        for shard in shards:
            for channel in record.channels(shard):
                part = record.of_channel(shard, channel, shards.whole)
                drained[channel] = part.drained()
                searches[channel].append(loss.search(part, part.delivered, drained=part.drained()))
                for name, check in checks.items():
                    found[channel, name].append(check(part))
    return [
        combined("delivery.no_loss", [loss.claimed(parts, drained=drained[name]) for name, parts in searches.items()]),
        *(combined(name, _of_channels(found, list(searches), name)) for name in checks),
    ]


def _of_channels(
    found: Mapping[tuple[str, str], Sequence[Finding]], channels: Sequence[str], name: str
) -> list[Finding]:
    return [added(found[channel, name]) for channel in channels]
