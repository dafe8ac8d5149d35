"""Retention, message by message, as a reader of the whole channel sees it.

``retention`` watches where a channel begins: that shows removal from the old end. Only a reader of the whole channel
sees a single message that goes early or stays late. Ages are bounded from the safe side: a message is *surely* gone
early when a reader had passed its place before ``sent + limit``; it is *surely* handed out late when the attempt to
read began after ``settled + limit``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from brokerbench.brokers.types import NO_PLACE, Outcome
from brokerbench.scenarios.checkers.findings import combined
from brokerbench.scenarios.checkers.index import channel_index
from brokerbench.scenarios.checkers.index.channel_index import ChannelIndex, Ids, offenders
from brokerbench.scenarios.verdicts import Finding

TOLERANCE_NS = 2_000_000
"""Error of an age, in ns: broker times are whole milliseconds, at both of its ends."""
_NO_READ = "nothing was read from the beginning"

Attempt = Mapping[str, Any]
"""An ``attempt`` mark of a reader that read from the beginning: reader, began_ns."""


def early(index: ChannelIndex, attempts: Sequence[Attempt], limit_s: float) -> Finding:
    """``retention.not_early``. Observations are acknowledged messages that a reader passed before their limit."""
    name = "retention.not_early"
    if not attempts:
        return Finding(name, not_testable=_NO_READ)
    limit_ns = channel_index.sent_ns(index) + int(limit_s * 1e9) - TOLERANCE_NS
    return combined(name, [_early(name, index, int(attempt["reader"]), limit_ns) for attempt in attempts])


def late(index: ChannelIndex, attempts: Sequence[Attempt], limit_s: float, grace_s: float = 0.0) -> Finding:
    """``retention.by_age``. Observations are acknowledged messages, over-age before an attempt began."""
    name = "retention.by_age"
    if not attempts:
        return Finding(name, not_testable=_NO_READ)
    spare_ns = int((limit_s + grace_s) * 1e9) + TOLERANCE_NS
    return combined(name, [_late(name, index, attempt, spare_ns) for attempt in attempts])


def _early(name: str, index: ChannelIndex, reader: int, limit_ns: Ids) -> Finding:
    sent = index.sent
    read = index.delivered.to([reader])
    first = read.first
    passed_ns = _passed_ns(index, reader)
    seen = first >= 0
    passed_ns[seen] = read.column("received_ns")[first[seen]]
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
    over = (sent.outcome == Outcome.ACKNOWLEDGED) & settled_in_time
    first = read.first
    bad = np.flatnonzero(over & (first >= 0))
    bad = bad[np.argsort(first[bad])]
    return Finding(
        name,
        observations=int(over.sum()),
        violations=len(bad),
        offenders=offenders(bad, lambda message: {**sent.describe(message), **read.describe(int(first[message]))}),
    )


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
