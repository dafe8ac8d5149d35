"""Is an unsettled delivery delivered again when its lease has ended: not before, and soon after?

A lease begins when the broker hands a message over. That was after the message was sent and after the receive call
began, and before the call returned. A redelivery counts as too early only when the lease cannot have ended, whatever
the true moment was; as too late only when the lease certainly ended longer ago than allowed. Cases in between are
unknown.

Left out are deliveries whose consumer released, rejected or extended them, and redeliveries after an acknowledgement
(``duplicates``). ``delivered`` always holds the deliveries to *one* group.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from brokerbench.brokers.types import NO_TIME
from brokerbench.scenarios.checkers.findings import first_of
from brokerbench.scenarios.checkers.index import channel_index, promises
from brokerbench.scenarios.checkers.index.channel_index import NEVER, ChannelIndex, Delivered, Ids, Mask, offenders
from brokerbench.scenarios.history import Action
from brokerbench.scenarios.verdicts import Finding

_MARGIN_NS = 50_000_000
_DECIDED = (Action.RELEASE, Action.REJECT, Action.EXTEND)


@dataclass(frozen=True, slots=True)
class _Returns:
    """Redeliveries that no consumer asked for, each with the delivery before it, in order of the redelivery."""

    earlier: Ids
    later: Ids
    starts_ns: Ids
    """The earliest moment at which the lease of the earlier one can have begun."""
    received_ns: Ids
    """Of the earlier one: its lease began at that moment at the latest."""
    again_ns: Ids


def not_early(index: ChannelIndex, delivered: Delivered, lease_s: float, *, buffered: bool = False) -> Finding:
    """``redelivery.not_early``: no redelivery while the lease runs. Observations are deliveries.

    ``buffered``: the client fetches ahead of ``receive``, so that a lease may have begun long before the call.
    """
    delivered = delivered.known()
    back = _returns(index, delivered, buffered)
    lease_ns = round(lease_s * 1e9)
    early = back.again_ns < back.starts_ns + lease_ns
    doubtful = ~early & (back.again_ns < back.received_ns + lease_ns)
    return Finding(
        "redelivery.not_early",
        observations=len(delivered) - int(doubtful.sum()),
        violations=int(early.sum()),
        unknown=int(doubtful.sum()),
        offenders=_offenders(index, delivered, back, early),
        remarks=(f"lease {lease_s:g} s",),
    )


def in_time(index: ChannelIndex, delivered: Delivered, lease_s: float, *, buffered: bool = False) -> Finding:
    """``redelivery.none``: every delivery was settled before its lease ended. Observations are deliveries.

    A violation is a legal redelivery: its message had not been acknowledged in time.
    """
    delivered = delivered.known()
    back = _returns(index, delivered, buffered)
    lapsed = back.again_ns >= back.starts_ns + round(lease_s * 1e9)
    return Finding(
        "redelivery.none",
        observations=len(delivered),
        violations=int(lapsed.sum()),
        offenders=_offenders(index, delivered, back, lapsed),
        remarks=("came again because it was not acknowledged in time (legal)",),
    )


def held(index: ChannelIndex, delivered: Delivered) -> Ids:
    """Second deliveries (indices) that are wrong whenever they were handed over: joins two statements.

    While the lease of a delivery runs, and after its acknowledgement, the message is not handed out again to the group.
    Where the acknowledgement was answered before the lease can have ended, no moment is left for a second delivery,
    though it may not be known on which side of the answer it was. Which of two consumers got the message first need not
    be known either: both orders must be impossible.

    Nothing is claimed where the history tells no lease or no beginnings of calls, where the client fetches ahead (a
    lease may have ended in its buffer), where the consumer released, rejected or extended the delivery or began to
    close, and within ``_MARGIN_NS`` of a lease's end. ``delivered``: known ones, to *one* group.
    """
    told = promises.of(index.history, index.channel)
    pairs = delivered.pairs
    if told.lease_ns is None or told.buffers_ahead or not len(pairs.later):
        return np.empty(0, np.int64)
    asked, received = delivered.column("asked_ns"), delivered.column("received_ns")
    sent_ns = channel_index.sent_ns(index)[delivered.message]
    ends_ns = np.maximum(asked, sent_ns) + told.lease_ns - _MARGIN_NS
    acknowledged_ns = delivered.settled(Action.ACKNOWLEDGE).settled_ns
    reader = delivered.column("reader")
    closing_ns = promises.closing_ns(index.history, int(reader.max(initial=-1)) + 1)[reader]
    free = _decided(index, delivered) | (asked == NO_TIME)
    one, other = pairs.earlier, pairs.later
    again_ns = received[other]
    first_is_earlier = np.minimum(again_ns, acknowledged_ns[one]) < ends_ns[one]
    first_is_later = received[one] < ends_ns[other]
    sure = first_is_earlier & first_is_later & ~free[one] & (asked[other] != NO_TIME)
    sure &= closing_ns[one] > np.minimum(again_ns, acknowledged_ns[one])
    again: Ids = other[sure]
    return again


def not_late(
    index: ChannelIndex,
    delivered: Delivered,
    lease_s: float,
    tolerance_s: float,
    *,
    drained: bool,
    max_deliveries: int | None = None,
) -> Finding:
    """``redelivery.not_late``: an unsettled delivery is followed by another within ``tolerance_s`` after its lease.

    Observations are unsettled deliveries. The caller vouches that the group asked for messages all the time. A
    delivery without another counts only where no more was to come (else it is open), and never where it was the last of
    ``max_deliveries``.
    """
    delivered = delivered.known()
    back = _returns(index, delivered, buffered=False)
    late = back.again_ns > back.received_ns + round((lease_s + tolerance_s) * 1e9)
    gone, unknown = _never_again(index, delivered, max_deliveries)
    not_seen = 0 if drained else len(gone)
    gone = gone[: len(gone) - not_seen]
    never = offenders(gone, lambda at: {"kind": "never again", **index.describe(delivered, at)})
    return Finding(
        "redelivery.not_late",
        observations=len(late) + len(gone),
        violations=int(late.sum()) + len(gone),
        unknown=unknown,
        open=not_seen,
        offenders=first_of((*_offenders(index, delivered, back, late), *never)),
        remarks=(f"within {tolerance_s:g} s after a lease of {lease_s:g} s",),
    )


def _returns(index: ChannelIndex, delivered: Delivered, buffered: bool) -> _Returns:
    pairs = delivered.pairs
    received = delivered.column("received_ns")
    again = received[pairs.later]
    done = delivered.done_ns[delivered.message[pairs.earlier]]
    ours = (done >= again) & ~_decided(index, delivered)[pairs.earlier]
    earlier, later = pairs.earlier[ours], pairs.later[ours]
    starts = channel_index.sent_ns(index)[delivered.message[earlier]]
    if not buffered:
        starts = np.maximum(starts, channel_index.call_began_ns(index, delivered, earlier))
    return _Returns(earlier, later, starts, received[earlier], received[later])


def _decided(index: ChannelIndex, delivered: Delivered) -> Mask:
    """Deliveries for which a release, rejection or extension was asked, whatever the answer."""
    decided = np.zeros(len(delivered), bool)
    for action in _DECIDED:
        decided |= delivered.settled(action).asked_ns != NEVER
    return decided


def _never_again(index: ChannelIndex, delivered: Delivered, max_deliveries: int | None) -> tuple[Ids, int]:
    """Last deliveries of messages that were never settled, and the number of those of which that is not known."""
    count = len(index.sent)
    last = np.full(count, -1, np.int64)
    last[delivered.message] = np.arange(len(delivered))  # of repeated indices the last assignment stays
    open_ = (last >= 0) & (delivered.done_ns == NEVER)
    if max_deliveries is not None:
        open_ &= np.bincount(delivered.message, minlength=count) < max_deliveries
    at = np.sort(last[open_])
    at = at[~_decided(index, delivered)[at]]
    asked = delivered.settled(Action.ACKNOWLEDGE).asked_ns[at] != NEVER
    return at[~asked], int(asked.sum())


def _offenders(
    index: ChannelIndex, delivered: Delivered, back: _Returns, bad: Mask
) -> tuple[Mapping[str, object], ...]:
    def describe(row: int) -> Mapping[str, object]:
        before = delivered.describe(int(back.earlier[row]))
        return {**index.describe(delivered, int(back.later[row])), "before": before}

    return offenders(np.flatnonzero(bad), describe)
