"""Losses and repeats of a channel that deduplicates, of a history that is judged shard by shard.

Messages of one identity lie in any shards; a message that was swallowed like a repeat lies apart from the one whose
place it was acknowledged with. Both are taken out, and judged together. Of all others a shard says enough.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from brokers.types import NO_PLACE, Outcome
from scenarios.checkers import deduplication, loss, numbering, record
from scenarios.checkers.excerpts import excerpt, together
from scenarios.checkers.record import Delivered, Ids, Record
from scenarios.checkers.shards import Cut
from scenarios.checkers.streamed import Tally
from scenarios.history import Column, History
from scenarios.verdicts import Finding


@dataclass(frozen=True, slots=True)
class Sorted:
    """One shard: messages that have to do with others apart, and what there is of the rest."""

    channel: str
    apart: History
    rest: loss.Search
    kept: int
    """New ones among the rest, that were acknowledged: all of them were delivered."""


def sorting_out(group: Callable[[Record], Delivered], window_s: float) -> Tally[Sorted]:
    """``delivery.no_loss``, ``deduplication.applied`` and ``deduplication.only_repeats`` for one group."""

    def of_part(part: Record, _cut: Cut) -> Sorted:
        entangled = deduplication.entangled(part, group(part))
        outcome = part.sent.outcome.copy()
        outcome[entangled] = Outcome.REJECTED  # neither required nor unknown
        rest = replace(part, sent=replace(part.sent, outcome=outcome))
        return Sorted(
            part.channel,
            excerpt(part, entangled),
            loss.search(rest, group(part), drained=part.drained()),
            int((outcome == Outcome.ACKNOWLEDGED).sum()),
        )

    def of_all(parts: Sequence[Sorted], shards: Cut) -> list[Finding]:
        taken = together([part.apart for part in parts])
        whole = record.of_channel(taken, parts[0].channel, shards.whole)
        got, drained = group(whole), whole.drained()
        required = deduplication.apart(whole, got, window_s)
        with_places = record.of_channel(
            together([taken, *_of_places(_open_places(whole, got), parts, shards, group)]), whole.channel, shards.whole
        )
        only = deduplication.new_kept(with_places, group(with_places), window_s, drained=drained)
        counted_twice = _acknowledged(with_places) - _acknowledged(whole)
        kept = sum(part.kept for part in parts) - counted_twice
        return [
            loss.claimed(
                [*(part.rest for part in parts), loss.search(required, got, drained=drained)], drained=drained
            ),
            deduplication.repeats_swallowed(whole, got, window_s, drained=drained),
            replace(only, observations=only.observations + kept),
        ]

    return Tally(of_part, of_all)


def _acknowledged(of: Record) -> int:
    return int((of.sent.outcome == Outcome.ACKNOWLEDGED).sum())


def _open_places(whole: Record, got: Delivered) -> Ids:
    """Places, ascending, with which messages were acknowledged that were not delivered."""
    sent = whole.sent
    missing = (sent.outcome == Outcome.ACKNOWLEDGED) & (got.first(len(sent)) < 0) & (sent.place != NO_PLACE)
    return np.unique(sent.place[missing])


def _of_places(
    places: Ids, parts: Sequence[Sorted], shards: Cut, group: Callable[[Record], Delivered]
) -> Iterator[History]:
    """Messages of the rest that were told one of these places: seldom any, so that few shards are read again."""
    for shard, part in enumerate(parts):
        told = _count(places, shards.spool.read("settled", shard, ["place"])["place"])
        if told > _count(places, part.apart.settled["place"]):
            again = record.of_channel(shards.read(shard), part.channel, shards.whole)
            there = numbering.found(places, again.sent.place) >= 0
            yield excerpt(again, there & ~deduplication.entangled(again, group(again)))


def _count(places: Ids, column: Column) -> int:
    return int((numbering.found(places, column) >= 0).sum())
