"""Does a broker that deduplicates keep exactly one of the messages with one identity, and everything else?

Identities stand in the ``identities`` marks. A message arrived after it was sent, and before its settlement or its
first delivery came: it repeats another one *surely* when both must have arrived within the window, *possibly*
when they can have. Rejected sends repeat nothing; a send of unknown fate counts only if it was delivered.

A repeat that is swallowed is acknowledged and never delivered: ``apart`` is the record to look for losses in. A new
message that is swallowed looks like a lost one, except that it was acknowledged with the place of an earlier message,
or, where there are no places, has an identity that was sent before. Needs the whole channel: identities know no shards.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from brokerbench.brokers.types import NO_PLACE, Outcome
from brokerbench.scenarios.checkers.index import time_bounds
from brokerbench.scenarios.checkers.index.channel_index import MAX_OFFENDERS, NEVER, ChannelIndex, Delivered, Ids, Mask
from brokerbench.scenarios.history import Columns
from brokerbench.scenarios.verdicts import Finding

_NONE = -1


@dataclass(frozen=True, slots=True)
class _Repeats:
    """By message: its identity, whether it was delivered, and what it is of those sent before it."""

    identity: Ids
    seen: Mask
    surely: Mask
    """A repeat of one that was delivered."""
    possibly: Mask
    """Perhaps a repeat: it need not be delivered."""
    again: Mask
    """Not the first of its identity, however long ago the first was sent."""


def repeats_swallowed(record: ChannelIndex, delivered: Delivered, window_s: float, *, drained: bool) -> Finding:
    """``deduplication.applied``. Observations are messages that surely repeat one that was delivered.

    A violation is one that was delivered to this group all the same. Of one that was not, nothing is known until a
    proven drain.
    """
    repeats = _repeats(record, delivered, window_s)
    bad = np.flatnonzero(repeats.surely & repeats.seen)
    bad = bad[np.argsort(delivered.first(len(record.sent))[bad])]
    swallowed = int((repeats.surely & ~repeats.seen).sum())
    return Finding(
        "deduplication.applied",
        observations=len(bad) + (swallowed if drained else 0),
        violations=len(bad),
        unknown=0 if drained else swallowed,
        offenders=tuple(
            {
                **record.sent.describe(message),
                **delivered.describe(int(delivered.first(len(record.sent))[message])),
                "identity": int(repeats.identity[message]),
            }
            for message in bad[:MAX_OFFENDERS].tolist()
        ),
        remarks=(f"window {window_s:g} s",),
    )


def new_kept(
    record: ChannelIndex, delivered: Delivered, window_s: float, *, drained: bool, others: Columns | None = None
) -> Finding:
    """``deduplication.only_repeats``. Observations are acknowledged messages that cannot be repeats.

    A violation is one that was acknowledged like a repeat and not delivered, though nothing was left. One that is
    missing otherwise is a matter of ``loss``: it is unknown here.

    ``others``: messages of the channel that are not in this record, and may have been told the same places.
    """
    repeats = _repeats(record, delivered, window_s)
    sent = record.sent
    new = (sent.outcome == Outcome.ACKNOWLEDGED) & ~repeats.possibly
    like_a_repeat = np.where(sent.place == NO_PLACE, repeats.again, _place_was_taken(record, others))
    missing = new & ~repeats.seen
    bad = np.flatnonzero(missing & like_a_repeat & drained)
    return Finding(
        "deduplication.only_repeats",
        observations=int((new & repeats.seen).sum()) + len(bad),
        violations=len(bad),
        unknown=int(missing.sum()) - len(bad),
        offenders=tuple(
            {
                **sent.describe(message),
                "partition": int(sent.partition[message]),
                "place": int(sent.place[message]),
                "identity": int(repeats.identity[message]),
            }
            for message in bad[:MAX_OFFENDERS].tolist()
        ),
        remarks=(f"window {window_s:g} s",),
    )


def apart(record: ChannelIndex, delivered: Delivered, window_s: float) -> ChannelIndex:
    """The record for a search for losses: of messages that may be repeats it is not known whether they must come."""
    repeats = _repeats(record, delivered, window_s)
    outcome = record.sent.outcome.copy()
    outcome[repeats.possibly & ~repeats.seen] = Outcome.UNKNOWN
    return replace(record, sent=replace(record.sent, outcome=outcome))


def entangled(record: ChannelIndex, delivered: Delivered) -> Mask:
    """Messages of a shard that others, elsewhere, have a say in: of a shared identity, or taken and not delivered.

    Of any other the checks here say that it is new, and was kept if it was acknowledged.
    """
    given = record.identities
    ids = record.numbers.ids(given.producer, given.seq)
    found: Mask = (record.sent.outcome == Outcome.ACKNOWLEDGED) & (delivered.first(len(record.sent)) < 0)
    found[ids[(ids >= 0) & given.shared]] = True
    return found


def _repeats(record: ChannelIndex, delivered: Delivered, window_s: float) -> _Repeats:
    """Messages of one identity in order of sending; those whose identity is their own are not walked through."""
    sent = record.sent
    count = len(sent)
    first = delivered.first(count)
    seen = first >= 0
    acknowledged = sent.outcome == Outcome.ACKNOWLEDGED
    earliest = time_bounds.sent_ns(record)
    latest = np.where(acknowledged, time_bounds.settled_ns(record), NEVER)
    latest[seen] = np.minimum(latest[seen], delivered.column("received_ns")[first[seen]])
    identity = _identities(record)
    chosen = np.flatnonzero((acknowledged | seen) & (identity != _NONE))
    order = chosen[np.lexsort([chosen, earliest[chosen], identity[chosen]])]
    found = _Repeats(identity, seen, *(np.zeros(count, bool) for _ in range(3)))
    begins = np.flatnonzero(np.diff(identity[order])) + 1
    found.again[np.delete(order, [0, *begins.tolist()] if len(order) else [])] = True
    for alike in np.split(order, begins):
        if len(alike) > 1:
            _walk(found, alike, earliest[alike].tolist(), latest[alike].tolist(), round(window_s * 1e9))
    return found


def _walk(found: _Repeats, alike: Ids, earliest: list[int], latest: list[int], window_ns: int) -> None:
    """Mark the repeats among messages of one identity.

    What was not delivered and cannot be a repeat is missing; those after it may repeat it, as it may have been kept.
    """
    kept_until, seen_since = -NEVER, -NEVER
    for message, begin, end in zip(alike.tolist(), earliest, latest, strict=True):
        found.surely[message] = end < seen_since + window_ns
        found.possibly[message] = begin <= kept_until + window_ns
        if found.seen[message]:
            seen_since = begin
        if found.seen[message] or not found.possibly[message]:
            kept_until = max(kept_until, end)
    next_seen = NEVER
    for message, begin, end in zip(alike.tolist()[::-1], earliest[::-1], latest[::-1], strict=True):
        found.possibly[message] |= next_seen <= end  # overtaken on its way by one that was sent after it
        if found.seen[message]:
            next_seen = begin


def _identities(record: ChannelIndex) -> Ids:
    """By message, ``_NONE`` where it has none."""
    given = record.identities
    ids = record.numbers.ids(given.producer, given.seq)
    identity = np.full(len(record.sent), _NONE, np.int64)
    identity[ids[ids >= 0]] = given.identity[ids >= 0]
    return identity


def told(record: ChannelIndex) -> Columns:
    """Which messages were told which places: columns producer, seq, sent_ns, partition, place."""
    sent = record.sent
    placed = np.flatnonzero(sent.place != NO_PLACE)
    columns = {name: getattr(sent, name)[placed] for name in ("producer", "seq", "partition", "place")}
    return {**columns, "sent_ns": time_bounds.sent_ns(record)[placed]}


def _place_was_taken(record: ChannelIndex, others: Columns | None) -> Mask:
    """By message: whether one that was sent earlier was acknowledged with the same place."""
    ours = told(record)
    rows = ours if others is None else {name: np.concatenate([ours[name], others[name]]) for name in ours}
    order = np.lexsort([rows[name] for name in ("seq", "producer", "sent_ns", "place", "partition")])
    same = rows["place"][order[1:]] == rows["place"][order[:-1]]
    same &= rows["partition"][order[1:]] == rows["partition"][order[:-1]]
    taken = np.zeros(len(order), bool)
    taken[order[1:][same]] = True
    found = np.zeros(len(record.sent), bool)
    found[record.sent.place != NO_PLACE] = taken[: len(ours["seq"])]
    return found
