"""Losses and repeats of a channel that deduplicates, judged shard by shard.

Messages of one identity lie in any shards; a message that was swallowed like a repeat lies apart from the one with
whose place it was acknowledged. Both are extracted, and judged together. For all others their shard is enough.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from brokerbench.brokers.types import NO_PLACE, Outcome
from brokerbench.scenarios.checkers import arrivals, deduplication
from brokerbench.scenarios.checkers.index import channel_index
from brokerbench.scenarios.checkers.index.channel_index import ChannelIndex, Delivered, Ids
from brokerbench.scenarios.checkers.sharding.excerpts import excerpt, together
from brokerbench.scenarios.checkers.sharding.reduction import Reduction
from brokerbench.scenarios.checkers.sharding.shards import Shards
from brokerbench.scenarios.history import Columns, History, message_ids, select
from brokerbench.scenarios.verdicts import Finding


@dataclass(frozen=True, slots=True)
class Separated:
    """One shard: messages whose judgement needs other shards, and the results of the rest."""

    channel: str
    apart: History
    rest: arrivals.Search
    kept: int
    """How many of the rest were acknowledged: they are new, and all of them were delivered."""


def deduplicating(group: Callable[[ChannelIndex], Delivered], window_s: float) -> Reduction[Separated]:
    """``delivery.no_loss``, ``deduplication.applied`` and ``deduplication.only_repeats`` for one group."""

    def of_part(part: ChannelIndex, _shards: Shards) -> Separated:
        entangled = deduplication.entangled(part, group(part))
        outcome = part.sent.outcome.copy()
        outcome[entangled] = Outcome.REJECTED  # neither required nor unknown
        rest = replace(part, sent=replace(part.sent, outcome=outcome))
        return Separated(
            part.channel,
            excerpt(part, entangled),
            arrivals.search(rest, group(part), drained=part.drained()),
            int((outcome == Outcome.ACKNOWLEDGED).sum()),
        )

    def of_all(parts: Sequence[Separated], shards: Shards) -> list[Finding]:
        whole = channel_index.of_channel(together([part.apart for part in parts]), parts[0].channel, shards.whole)
        got, drained = group(whole), whole.drained()
        required = deduplication.apart(whole, got, window_s)
        others = _told_elsewhere(whole, _open_places(whole, got), shards)
        only = deduplication.new_kept(whole, got, window_s, drained=drained, others=others)
        searches = [*(part.rest for part in parts), arrivals.search(required, got, drained=drained)]
        return [
            arrivals.claimed(searches, drained=drained),
            deduplication.repeats_swallowed(whole, got, window_s, drained=drained),
            replace(only, observations=only.observations + sum(part.kept for part in parts)),
        ]

    return Reduction(of_part, of_all)


def _open_places(whole: ChannelIndex, got: Delivered) -> Ids:
    """The places, ascending, of acknowledgements of messages that were not delivered."""
    sent = whole.sent
    missing = (sent.outcome == Outcome.ACKNOWLEDGED) & (got.first < 0) & (sent.place != NO_PLACE)
    return np.unique(sent.place[missing])


def _told_elsewhere(whole: ChannelIndex, places: Ids, shards: Shards) -> Columns:
    """Messages of the channel that were told one of these places, but are not in ``whole``: as ``deduplication.told``.

    Reads only the columns that it needs.
    """
    found: list[Columns] = [select(deduplication.told(whole), places[:0])]
    producers = whole.history.producers(channel=whole.channel)
    for shard in range(shards.count if len(places) else 0):
        settled = shards.spool.read("send_outcomes", shard, ["producer", "seq", "partition", "place"])
        rows = select(settled, message_ids.rows_with(settled["place"], places))
        rows = select(
            rows,
            message_ids.among(rows["producer"], producers) & (whole.numbers.ids(rows["producer"], rows["seq"]) < 0),
        )
        sends = shards.spool.read("sends", shard, ["producer", "seq", "sent_ns"])
        numbers = message_ids.of(sends, producers, gaps=True)
        found.append({**rows, "sent_ns": sends["sent_ns"][numbers.rows][numbers.ids(rows["producer"], rows["seq"])]})
    return {name: np.concatenate([part[name] for part in found]) for name in found[0]}
