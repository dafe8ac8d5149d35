"""Findings of a history on disk that need not fit in memory.

The same checkers as for one in memory, on one shard after the other: the findings are the same, offenders included.
A ``Reduction`` says how one or several findings are made of what is seen of each shard.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Generic, TypeVar

from brokerbench.scenarios.checkers import corruption, duplicates, loss, order, phantom
from brokerbench.scenarios.checkers.findings import added, combined, of_group
from brokerbench.scenarios.checkers.index import channel_index
from brokerbench.scenarios.checkers.index.channel_index import ChannelIndex, Delivered
from brokerbench.scenarios.checkers.index.first_deliveries import FirstDeliveries, joined
from brokerbench.scenarios.checkers.sharding.excerpts import together
from brokerbench.scenarios.checkers.sharding.first_deliveries import keep, stretches
from brokerbench.scenarios.checkers.sharding.shards import MESSAGES_PER_SHARD, Shards, cut
from brokerbench.scenarios.checkers.sharding.spool import Spool
from brokerbench.scenarios.history import History
from brokerbench.scenarios.verdicts import Finding

Check = Callable[[ChannelIndex], Finding]
T = TypeVar("T")
Stream = tuple[str, str]
"""A channel, and a group where it has several."""


@dataclass(frozen=True, slots=True)
class Reduction(Generic[T]):
    """Of one channel: what is kept of each shard, in order of the shards, and the findings that follow from all."""

    of_part: Callable[[ChannelIndex, Shards], T]
    of_all: Callable[[Sequence[T], Shards], Sequence[Finding]]


def adding(check: Check) -> Reduction[Finding]:
    """A check that says of each message, or of each line of one producer and key, what it says without the others."""
    return Reduction(lambda part, _cut: check(part), lambda parts, _cut: [added(parts)])


def adding_each(name: str, check: Callable[[ChannelIndex], Sequence[Finding]]) -> Reduction[Sequence[Finding]]:
    """A check of several things one by one (attempts to read again), as many in every shard; at least one."""
    return Reduction(
        lambda part, _cut: check(part),
        lambda parts, _cut: [combined(name, [added(of_one) for of_one in zip(*parts, strict=True)])],
    )


def searching(group: Callable[[ChannelIndex], Delivered]) -> Reduction[tuple[bool, loss.Search]]:
    """``delivery.no_loss``. It is weighed against the whole channel."""

    def of_part(part: ChannelIndex, _cut: Shards) -> tuple[bool, loss.Search]:
        drained = part.drained()
        return drained, loss.search(part, group(part), drained=drained)

    def of_all(parts: Sequence[tuple[bool, loss.Search]], _cut: Shards) -> list[Finding]:
        return [loss.claimed([search for _, search in parts], drained=parts[0][0])]

    return Reduction(of_part, of_all)


def taking_out(excerpt: Callable[[ChannelIndex], History], checks: Sequence[Check]) -> Reduction[tuple[str, History]]:
    """Checks that need little of the history, but that as a whole: an excerpt of each shard that is not large."""

    def of_all(parts: Sequence[tuple[str, History]], shards: Shards) -> list[Finding]:
        channel = parts[0][0]
        whole = channel_index.of_channel(together([taken for _, taken in parts]), channel, shards.whole)
        return [check(whole) for check in checks]

    return Reduction(lambda part, _cut: (part.channel, excerpt(part)), of_all)


@dataclass(frozen=True, slots=True)
class _Along:
    firsts: Spool
    by_key: Finding
    unknown: int
    several: bool


def in_order(
    per_key: str,
    withins: Mapping[str, str | None],
    group: Callable[[ChannelIndex], Delivered],
    producers: Callable[[ChannelIndex], list[int]],
) -> Reduction[_Along]:
    """``per_key``: order of a key's messages, whose lines lie each in a shard; and along lines that shards cut through.

    ``withins``: by finding, the column of ``FirstDeliveries`` that divides a producer's messages into lines; None: no
    column does.
    """

    def of_part(part: ChannelIndex, shards: Shards) -> _Along:
        chosen = producers(part)
        judged, these = order.firsts(part, group(part), chosen)
        several = order.several_readers(part)
        by_key = order.along(per_key, these, part.by_key.renumbered(judged), several=several)
        return _Along(keep(these, shards), by_key, order.unknown_sends(part, chosen), several)

    def of_all(parts: Sequence[_Along], shards: Shards) -> list[Finding]:
        found: dict[str, list[Finding]] = defaultdict(list)
        before: dict[str, FirstDeliveries] = {}
        for stretch in stretches([part.firsts for part in parts], shards):
            for name, within in withins.items():
                these = joined([before[name], stretch]) if name in before else stretch
                lines = order.lines_within(these, within)
                found[name].append(order.along(name, these, lines, several=parts[0].several))
                before[name] = order.last(these, lines)
        unknown = sum(part.unknown for part in parts)
        by_key = added([part.by_key for part in parts])
        return [replace(of_all, unknown=unknown) for of_all in (by_key, *(added(found[name]) for name in withins))]

    return Reduction(of_part, of_all)


def _everybody(part: ChannelIndex) -> Delivered:
    return part.delivered


DELIVERY: Mapping[str, Check] = {
    "delivery.intact": lambda part: corruption.altered(part, part.delivered),
    "delivery.no_duplicate": lambda part: duplicates.delivered_again(part, part.delivered),
    "delivery.no_phantom": lambda part: phantom.phantoms(part, part.delivered),
}
"""Checks that add up over messages. Loss is not among them: it is weighed against the whole channel."""


def judged(
    directory: Path,
    checks: Mapping[str, Check] = DELIVERY,
    messages_per_shard: int = MESSAGES_PER_SHARD,
    *,
    by_line: bool = False,
) -> list[Finding]:
    """``delivery.no_loss``, then one finding for each of ``checks``, over all channels and groups of the history.

    A check must say of each message (``by_line``: or of each line of one producer and key) what it says without looking
    at others.
    Raises ValueError for a damaged history, OSError where the disk has no room for the shards.
    """
    tallies: list[Reduction[Any]] = [searching(_everybody), *map(adding, checks.values())]
    found = tallied(
        directory,
        dict(zip(("delivery.no_loss", *checks), tallies, strict=True)),
        messages_per_shard,
        each_group=True,
        by_line=by_line,
    )
    return list(found.values())


def tallied(
    directory: Path,
    tallies: Mapping[str | tuple[str, ...], Reduction[Any]],
    messages_per_shard: int = MESSAGES_PER_SHARD,
    *,
    each_group: bool = False,
    by_line: bool = True,
) -> dict[str, Finding]:
    """By name, over all channels of the history. ``tallies``: by the name, or the names, of what they find.

    ``each_group``: where a channel has several groups of consumers, each is judged by itself (``delivery``);
    ``by_line``: a tally needs all of one producer and key in one shard.

    Raises ValueError for a damaged history, OSError where the disk has no room for the shards.
    """
    parts: dict[Stream, list[list[Any]]] = defaultdict(lambda: [[] for _ in tallies])
    found: dict[str, list[Finding]] = {}
    with cut(directory, messages_per_shard, by_line=by_line) as shards:
        for shard in shards:
            for channel in channel_index.channels(shard):
                whole = channel_index.of_channel(shard, channel, shards.whole)
                for part in whole.by_group() if each_group else [whole]:
                    for kept, tally in zip(parts[channel, part.group], tallies.values(), strict=True):
                        kept.append(tally.of_part(part, shards))
        for at, (key, tally) in enumerate(tallies.items()):
            names = (key,) if isinstance(key, str) else key
            of_streams = {stream: tally.of_all(kept[at], shards) for stream, kept in parts.items()}
            for which, name in enumerate(names):
                found[name] = [of_group(of_one[which], group) for (_, group), of_one in of_streams.items()]
    return {name: combined(name, of_streams) for name, of_streams in found.items()}
