"""Retention, message by message, as a reader of the whole channel sees it.

``analysis.retention_looks`` follows where a channel begins, as the broker tells it: that shows removal from the old
end. Only a reader of the whole channel sees a single message that goes early or stays late, and whether the broker
tells the truth. Ages are bounded from the safe side: a message is *surely* gone early when a reader had passed its
place before ``sent + limit``; it is *surely* handed out late when the attempt to read began after ``settled + limit``,
or after the broker had said that the channel begins behind it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from brokerbench.brokers.types import NO_PLACE, Outcome
from brokerbench.scenarios.checkers.findings import combined
from brokerbench.scenarios.checkers.index import channel_index
from brokerbench.scenarios.checkers.index.channel_index import ChannelIndex, Ids, Mask, offenders
from brokerbench.scenarios.verdicts import Finding

TOLERANCE_NS = 2_000_000
"""Error of an age, in ns: broker times are whole milliseconds, at both of its ends."""
_NO_READ = "nothing was read from the beginning"

Attempt = Mapping[str, Any]
"""A mark of a reader that read from the beginning: reader, began_ns.

Where the broker told where the channel begins, by partition as text: ``first`` as told before the attempt began,
``first_after`` as told after it ended.
"""


def early(index: ChannelIndex, attempts: Sequence[Attempt], limit_s: float) -> Finding:
    """``retention.not_early``. Observations are acknowledged messages that a reader passed before their limit."""
    name = "retention.not_early"
    if not attempts:
        return Finding(name, not_testable=_NO_READ)
    limit_ns = channel_index.sent_ns(index) + int(limit_s * 1e9) - TOLERANCE_NS
    return combined(name, [_early(name, index, int(attempt["reader"]), limit_ns) for attempt in attempts])


def late(index: ChannelIndex, attempts: Sequence[Attempt], limit_s: float, grace_s: float = 0.0) -> Finding:
    """``retention.by_age``. Observations are acknowledged messages, over-age or said to be gone before an attempt."""
    name = "retention.by_age"
    if not attempts:
        return Finding(name, not_testable=_NO_READ)
    spare_ns = int((limit_s + grace_s) * 1e9) + TOLERANCE_NS
    return combined(name, [_late(name, index, attempt, spare_ns) for attempt in attempts])


def newest_kept(index: ChannelIndex, attempts: Sequence[Attempt]) -> Finding:
    """``retention.by_size``. Observations are acknowledged messages whose fate the broker told, beside each attempt.

    A message said to be gone before the attempt must not be read. One said to be kept after it must have been read:
    it counts where the reader got it or passed its place, and is left open where the reader did not come that far.
    """
    name = "retention.by_size"
    if not attempts:
        return Finding(name, not_testable=_NO_READ)
    return combined(name, [_newest_kept(name, index, attempt) for attempt in attempts])


def seen_until_ns(index: ChannelIndex, attempts: Sequence[Attempt], limit_s: float) -> Ids:
    """By message: when a reader last got it or passed its place before its limit; -1 where none did."""
    limit_ns = channel_index.sent_ns(index) + int(limit_s * 1e9)
    latest = np.full(len(index.sent), -1, np.int64)
    for attempt in attempts:
        passed_ns = _looked_for_ns(index, int(attempt["reader"]))
        latest = np.where(passed_ns < limit_ns, np.maximum(latest, passed_ns), latest)
    return latest


def _early(name: str, index: ChannelIndex, reader: int, limit_ns: Ids) -> Finding:
    sent = index.sent
    seen = index.delivered.to([reader]).first >= 0
    passed_ns = _looked_for_ns(index, reader)
    observable = (sent.outcome == Outcome.ACKNOWLEDGED) & (passed_ns >= 0) & (passed_ns < limit_ns)
    gone = np.flatnonzero(observable & ~seen)
    return Finding(
        name,
        observations=int(observable.sum()),
        violations=len(gone),
        offenders=offenders(
            gone,
            lambda message: {
                **sent.describe(message),
                "place": int(sent.place[message]),
                "before_its_limit_s": float(limit_ns[message] - passed_ns[message]) / 1e9,
            },
        ),
    )


def _late(name: str, index: ChannelIndex, attempt: Attempt, spare_ns: int) -> Finding:
    sent = index.sent
    read = index.delivered.to([int(attempt["reader"])])
    settled_in_time = channel_index.settled_ns(index) <= int(attempt["began_ns"]) - spare_ns
    over = (sent.outcome == Outcome.ACKNOWLEDGED) & (settled_in_time | _below(index, attempt.get("first", {})))
    first = read.first
    bad = np.flatnonzero(over & (first >= 0))
    bad = bad[np.argsort(first[bad])]
    return Finding(
        name,
        observations=int(over.sum()),
        violations=len(bad),
        offenders=offenders(bad, lambda message: {**sent.describe(message), **read.describe(int(first[message]))}),
    )


def _newest_kept(name: str, index: ChannelIndex, attempt: Attempt) -> Finding:
    sent, reader = index.sent, int(attempt["reader"])
    read = index.delivered.to([reader])
    first = read.first
    acknowledged = sent.outcome == Outcome.ACKNOWLEDGED
    gone = acknowledged & _below(index, attempt["first"])
    kept = acknowledged & _from(index, attempt["first_after"])
    looked_for = kept & (_looked_for_ns(index, reader) >= 0)
    bad = np.flatnonzero((gone & (first >= 0)) | (looked_for & (first < 0)))
    return Finding(
        name,
        observations=int((gone | looked_for).sum()),
        violations=len(bad),
        open=int((kept & ~looked_for).sum()),
        offenders=offenders(
            bad,
            lambda message: {
                **sent.describe_with_place(message),
                "kind": "said to be kept, and not read" if first[message] < 0 else "said to be gone, and read",
            },
        ),
    )


def _below(index: ChannelIndex, first: Mapping[str, int]) -> Mask:
    """Messages that lie before the first kept one of their partition."""
    return _placed(index, first, lambda place, begin: place < begin)


def _from(index: ChannelIndex, first: Mapping[str, int]) -> Mask:
    """Messages that lie at or behind the first kept one of their partition."""
    return _placed(index, first, lambda place, begin: place >= begin)


def _placed(index: ChannelIndex, first: Mapping[str, int], lies: Callable[[Ids, int], Mask]) -> Mask:
    sent = index.sent
    found = np.zeros(len(sent), bool)
    for partition, begin in first.items():
        found |= (sent.partition == int(partition)) & (sent.place != NO_PLACE) & lies(sent.place, begin)
    return found


def _looked_for_ns(index: ChannelIndex, reader: int) -> Ids:
    """By message: when the reader first got it, else when it first got a later place of its partition; else -1."""
    read = index.delivered.to([reader])
    passed_ns = _passed_ns(index, reader)
    seen = read.first >= 0
    passed_ns[seen] = read.column("received_ns")[read.first[seen]]
    return passed_ns


def _passed_ns(index: ChannelIndex, reader: int) -> Ids:
    """By message: when the reader first got a later place of its partition; -1 where it never did."""
    sent = index.sent
    passed = np.full(len(sent), -1, np.int64)
    for number, reach in index.reach(reader).items():
        ours = np.flatnonzero((sent.partition == number) & (sent.place != NO_PLACE))
        at = np.searchsorted(reach.highest, sent.place[ours], side="right")
        there = at < len(reach.highest)
        passed[ours[there]] = reach.received_ns[at[there]]
    return passed
