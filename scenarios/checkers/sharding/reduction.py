"""Findings of a history on disk that need not fit in memory.

The checkers for a history in memory run on one shard after the other: the findings are the same, offenders included.
A ``Reduction`` maps each shard to a partial result, and reduces these to one or several findings.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Generic, TypeVar

from brokerbench.scenarios.checkers import arrivals, consistency, delivery_counts, layout, order
from brokerbench.scenarios.checkers.findings import added, combined, of_group
from brokerbench.scenarios.checkers.index import channel_index
from brokerbench.scenarios.checkers.index.channel_index import ChannelIndex, Delivered
from brokerbench.scenarios.checkers.index.first_deliveries import FirstDeliveries, joined
from brokerbench.scenarios.checkers.sharding import places
from brokerbench.scenarios.checkers.sharding.excerpts import together
from brokerbench.scenarios.checkers.sharding.first_deliveries import keep, stretches
from brokerbench.scenarios.checkers.sharding.shards import MESSAGES_PER_SHARD, Shards, split
from brokerbench.scenarios.checkers.sharding.spool import Spool
from brokerbench.scenarios.history import History
from brokerbench.scenarios.verdicts import Finding

Check = Callable[[ChannelIndex], Finding]
T = TypeVar("T")
Stream = tuple[str, str]
"""A channel, and a group where it has several."""


@dataclass(frozen=True, slots=True)
class Reduction(Generic[T]):
    """For one channel: the partial result of each shard, and the findings from all of them, in order of the shards."""

    of_part: Callable[[ChannelIndex, Shards], T]
    of_all: Callable[[Sequence[T], Shards], Sequence[Finding]]
    of_groups: bool = True
    """Where groups are judged by themselves (``reduced``): whether it is about what each group got."""


def adding(check: Check) -> Reduction[Finding]:
    """A check whose judgement of each message, or of each producer and key, does not depend on the others."""
    return Reduction(lambda part, _shards: check(part), lambda parts, _shards: [added(parts)])


def of_channel(check: Check) -> Reduction[Finding]:
    """As ``adding``, of all that happened on the channel, whoever the readers are."""
    return replace(adding(check), of_groups=False)


def adding_each(name: str, check: Callable[[ChannelIndex], Sequence[Finding]]) -> Reduction[Sequence[Finding]]:
    """A check that makes several findings (one an attempt to read again), as many in every shard; at least one."""
    return Reduction(
        lambda part, _shards: check(part),
        lambda parts, _shards: [combined(name, [added(of_one) for of_one in zip(*parts, strict=True)])],
    )


@dataclass(frozen=True, slots=True)
class _Searched:
    drained: bool
    withheld: str
    search: arrivals.Search


def searching(group: Callable[[ChannelIndex], Delivered]) -> Reduction[_Searched]:
    """``delivery.no_loss``. Losses are claimed over the whole channel."""

    def of_part(part: ChannelIndex, _shards: Shards) -> _Searched:
        drained = part.drained()
        return _Searched(drained, part.withheld(), arrivals.search(part, group(part), drained=drained))

    def of_all(parts: Sequence[_Searched], _shards: Shards) -> list[Finding]:
        searches = [part.search for part in parts]
        return [arrivals.claimed(searches, drained=parts[0].drained, withheld=parts[0].withheld)]

    return Reduction(of_part, of_all)


def extracting(excerpt: Callable[[ChannelIndex], History], checks: Sequence[Check]) -> Reduction[tuple[str, History]]:
    """Checks that need few messages of the history, but those together: a small excerpt of each shard."""

    def of_all(parts: Sequence[tuple[str, History]], shards: Shards) -> list[Finding]:
        channel = parts[0][0]
        whole = channel_index.of_channel(together([taken for _, taken in parts]), channel, shards.whole)
        return [check(whole) for check in checks]

    return Reduction(lambda part, _shards: (part.channel, excerpt(part)), of_all)


def order_per_key(name: str) -> Reduction[Finding]:
    """Order per producer and key, where shards hold messages as they were sent, and a key spans them.

    The last message of each key goes along from shard to shard: the next of its key may lie in any later one.
    """
    last: dict[Stream, FirstDeliveries] = {}

    def of_part(part: ChannelIndex, _shards: Shards) -> Finding:
        stream = part.channel, part.group
        producers = part.history.producers(channel=part.channel)
        _, these = order.firsts(part, part.delivered, producers)
        if stream in last:
            these = joined([last[stream], these])
        groups = order.groups_within(these, "key")
        last[stream] = order.last(these, groups)
        found = order.along(name, these, groups, several=order.several_readers(part))
        return replace(found, unknown=part.sent.unknown(producers))

    return Reduction(of_part, lambda parts, _shards: [added(parts)])


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
    """Order within each key, of which each lies in one shard (``per_key``), and within groups that span shards.

    ``withins``: by finding, the column of ``FirstDeliveries`` that divides a producer's messages; None: they are one
    group.
    """

    def of_part(part: ChannelIndex, shards: Shards) -> _Along:
        chosen = producers(part)
        judged, these = order.firsts(part, group(part), chosen)
        several = order.several_readers(part)
        by_key = order.along(per_key, these, part.by_key.renumbered(judged), several=several)
        return _Along(keep(these, shards), by_key, part.sent.unknown(chosen), several)

    def of_all(parts: Sequence[_Along], shards: Shards) -> list[Finding]:
        found: dict[str, list[Finding]] = defaultdict(list)
        before: dict[str, FirstDeliveries] = {}
        for stretch in stretches([part.firsts for part in parts], shards):
            for name, within in withins.items():
                these = joined([before[name], stretch]) if name in before else stretch
                groups = order.groups_within(these, within)
                found[name].append(order.along(name, these, groups, several=parts[0].several))
                before[name] = order.last(these, groups)
        unknown = sum(part.unknown for part in parts)
        by_key = added([part.by_key for part in parts])
        return [replace(of_all, unknown=unknown) for of_all in (by_key, *(added(found[name]) for name in withins))]

    return Reduction(of_part, of_all)


OF_GROUPS: Mapping[str, Check] = {
    "delivery.intact": lambda part: arrivals.altered(part, part.delivered),
    "delivery.no_duplicate": lambda part: arrivals.delivered_again(part, part.delivered),
    "delivery.no_phantom": lambda part: arrivals.phantoms(part, part.delivered),
    "delivery.count": delivery_counts.of_group,
}
"""Checks of what a group got that add up over messages. Losses do not: they are claimed over the whole channel."""
OF_CHANNELS: Mapping[str, Check] = {
    "delivery.key": lambda part: consistency.same_key(part, part.delivered),
    "delivery.place": lambda part: consistency.same_place(part, part.delivered),
    "delivery.broker_time": lambda part: consistency.broker_time(part, part.delivered),
    "send.settled_once": consistency.settled_once,
}
"""Checks of all that happened on a channel that add up over messages. Those of ``layout`` do not."""
PLACES: Reduction[places.Placed] = Reduction(places.placed, places.findings, of_groups=False)


def judged(
    directory: Path,
    checks: Mapping[str, Check] = OF_GROUPS,
    messages_per_shard: int = MESSAGES_PER_SHARD,
    *,
    by_order_group: bool = False,
    per_key: str = "",
) -> list[Finding]:
    """``delivery.no_loss``, then one finding for each of ``checks``, over all channels and groups of the history.

    Then those of OF_CHANNELS and ``layout``. The judgement of a message (``by_order_group``: of a producer and key)
    must not depend on others. ``per_key``: last, order per producer and key under this name, for which shards must not
    be ``by_order_group``.
    Raises ValueError for a damaged history, OSError where the disk has no room for the shards.
    """
    reductions: dict[str | tuple[str, ...], Reduction[Any]] = {
        "delivery.no_loss": searching(lambda part: part.delivered),
        **{name: adding(check) for name, check in checks.items()},
        **{name: of_channel(check) for name, check in OF_CHANNELS.items()},
        layout.NAMES: PLACES,
    }
    if per_key:
        reductions[per_key] = order_per_key(per_key)
    found = reduced(directory, reductions, messages_per_shard, each_group=True, by_order_group=by_order_group)
    return [consistency.or_not_told(finding) for finding in found.values()]


def reduced(
    directory: Path,
    reductions: Mapping[str | tuple[str, ...], Reduction[Any]],
    messages_per_shard: int = MESSAGES_PER_SHARD,
    *,
    each_group: bool = False,
    by_order_group: bool = True,
) -> dict[str, Finding]:
    """Findings by name, over all channels of the history. ``reductions``: by the name, or names, of their findings.

    ``each_group``: where a channel has several groups of consumers, each is judged by itself (``delivery``);
    ``by_order_group``: some reduction needs all messages of one producer and key in one shard.

    Raises ValueError for a damaged history, OSError where the disk has no room for the shards.
    """
    parts: list[dict[Stream, list[Any]]] = [defaultdict(list) for _ in reductions]
    found: dict[str, list[Finding]] = {}
    with split(directory, messages_per_shard, by_order_group=by_order_group) as shards:
        for shard in shards:
            for channel in channel_index.channels(shard):
                whole = channel_index.of_channel(shard, channel, shards.whole)
                groups = whole.by_group() if each_group else [whole]
                for kept, reduction in zip(parts, reductions.values(), strict=True):
                    for part in groups if reduction.of_groups else [whole]:
                        kept[channel, part.group].append(reduction.of_part(part, shards))
        for at, (key, reduction) in enumerate(reductions.items()):
            names = (key,) if isinstance(key, str) else key
            of_streams = {stream: reduction.of_all(kept, shards) for stream, kept in parts[at].items()}
            for which, name in enumerate(names):
                found[name] = [of_group(of_one[which], group) for (_, group), of_one in of_streams.items()]
    return {name: combined(name, of_streams) for name, of_streams in found.items()}
