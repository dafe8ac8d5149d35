"""Does a broker that deduplicates keep exactly one of the messages with one identity, and all other messages?

Identities stand in the ``identities`` marks. A message arrived after it was sent, and before its settlement or its
first delivery came: it repeats another one *surely* when both must have arrived within the window, *possibly*
when they can have. Rejected sends repeat nothing; a send of unknown fate counts only if it was delivered.

A repeat that is swallowed is acknowledged and never delivered: ``apart`` is the index to look for losses in. A new
message that is swallowed looks like a lost one, except that it was acknowledged with the place of an earlier message,
or, where there are no places, has an identity that was sent before. Needs the whole channel: messages of one identity
lie in any shards.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from brokerbench.brokers.types import NO_PLACE, Outcome
from brokerbench.scenarios.checkers.index import channel_index
from brokerbench.scenarios.checkers.index.channel_index import NEVER, ChannelIndex, Delivered, Ids, Mask, offenders
from brokerbench.scenarios.history import Columns
from brokerbench.scenarios.verdicts import Finding

_NONE = -1


@dataclass(frozen=True, slots=True)
class _Repeats:
    """By message: its identity, whether it was delivered, and whether it repeats a message sent before it."""

    identity: Ids
    seen: Mask
    surely: Mask
    """It repeats a message that was delivered."""
    possibly: Mask
    """It may be a repeat, and need not be delivered."""
    again: Mask
    """It is not the first of its identity, however long ago the first was sent."""


def repeats_swallowed(index: ChannelIndex, delivered: Delivered, window_s: float, *, drained: bool) -> Finding:
    """``deduplication.applied``. Observations are messages that surely repeat one that was delivered.

    A violation is such a message that was delivered to this group. One that was not delivered is open until no more was
    to come.
    """
    repeats = _repeats(index, delivered, window_s)
    bad = np.flatnonzero(repeats.surely & repeats.seen)
    bad = bad[np.argsort(delivered.first[bad])]
    swallowed = int((repeats.surely & ~repeats.seen).sum())
    return Finding(
        "deduplication.applied",
        observations=len(bad) + (swallowed if drained else 0),
        violations=len(bad),
        open=0 if drained else swallowed,
        offenders=offenders(
            bad,
            lambda at: {**index.describe(delivered, int(delivered.first[at])), "identity": int(repeats.identity[at])},
        ),
        remarks=(f"window {window_s:g} s",),
    )


def new_kept(
    index: ChannelIndex, delivered: Delivered, window_s: float, *, drained: bool, others: Columns | None = None
) -> Finding:
    """``deduplication.only_repeats``. Observations are acknowledged messages that cannot be repeats.

    A violation is one that was acknowledged like a repeat and not delivered, though nothing was left. Any other missing
    message is a matter of ``loss``, and unknown here.

    ``others``: messages of the channel that are not in this index, and may have been told the same places.
    """
    repeats = _repeats(index, delivered, window_s)
    sent = index.sent
    new = (sent.outcome == Outcome.ACKNOWLEDGED) & ~repeats.possibly
    like_a_repeat = np.where(sent.place == NO_PLACE, repeats.again, _place_was_taken(index, others))
    missing = new & ~repeats.seen
    bad = np.flatnonzero(missing & like_a_repeat & drained)
    return Finding(
        "deduplication.only_repeats",
        observations=int((new & repeats.seen).sum()) + len(bad),
        violations=len(bad),
        unknown=int(missing.sum()) - len(bad),
        offenders=offenders(bad, lambda at: {**sent.describe_with_place(at), "identity": int(repeats.identity[at])}),
        remarks=(f"window {window_s:g} s",),
    )


def apart(index: ChannelIndex, delivered: Delivered, window_s: float) -> ChannelIndex:
    """The index for a search for losses: a message that may be a repeat, and was not delivered, counts as unknown."""
    repeats = _repeats(index, delivered, window_s)
    outcome = index.sent.outcome.copy()
    outcome[repeats.possibly & ~repeats.seen] = Outcome.UNKNOWN
    return replace(index, sent=replace(index.sent, outcome=outcome))


def entangled(index: ChannelIndex, delivered: Delivered) -> Mask:
    """Messages of a shard whose judgement needs other shards: of a shared identity, or acknowledged and not delivered.

    These checks find any other message new, and kept if it was acknowledged.
    """
    given = index.identities
    ids = index.numbers.ids(given.producer, given.seq)
    found: Mask = (index.sent.outcome == Outcome.ACKNOWLEDGED) & (delivered.first < 0)
    found[ids[(ids >= 0) & given.shared]] = True
    return found


def _repeats(index: ChannelIndex, delivered: Delivered, window_s: float) -> _Repeats:
    """Looks at messages of one identity in order of sending, and only at those whose identity is shared."""
    sent = index.sent
    count = len(sent)
    first = delivered.first
    seen = first >= 0
    acknowledged = sent.outcome == Outcome.ACKNOWLEDGED
    earliest = channel_index.sent_ns(index)
    latest = np.where(acknowledged, channel_index.settled_ns(index), NEVER)
    latest[seen] = np.minimum(latest[seen], delivered.column("received_ns")[first[seen]])
    identity = _identities(index)
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

    A message that was not delivered and cannot be a repeat is missing; later ones may repeat it, as the broker may have
    kept it.
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


def _identities(index: ChannelIndex) -> Ids:
    """By message, ``_NONE`` where it has none."""
    given = index.identities
    ids = index.numbers.ids(given.producer, given.seq)
    identity = np.full(len(index.sent), _NONE, np.int64)
    identity[ids[ids >= 0]] = given.identity[ids >= 0]
    return identity


def told(index: ChannelIndex) -> Columns:
    """Messages acknowledged with a place: columns producer, seq, sent_ns, partition, place."""
    sent = index.sent
    placed = np.flatnonzero(sent.place != NO_PLACE)
    columns = {name: getattr(sent, name)[placed] for name in ("producer", "seq", "partition", "place")}
    return {**columns, "sent_ns": channel_index.sent_ns(index)[placed]}


def _place_was_taken(index: ChannelIndex, others: Columns | None) -> Mask:
    """By message: whether one that was sent earlier was acknowledged with the same place."""
    ours = told(index)
    rows = ours if others is None else {name: np.concatenate([ours[name], others[name]]) for name in ours}
    order = np.lexsort([rows[name] for name in ("seq", "producer", "sent_ns", "place", "partition")])
    same = rows["place"][order[1:]] == rows["place"][order[:-1]]
    same &= rows["partition"][order[1:]] == rows["partition"][order[:-1]]
    taken = np.zeros(len(order), bool)
    taken[order[1:][same]] = True
    found = np.zeros(len(index.sent), bool)
    found[index.sent.place != NO_PLACE] = taken[: len(ours["seq"])]
    return found
