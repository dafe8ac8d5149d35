"""Findings of the retention scenario, from the looks at watched channels.

A look is bracketed by two client times: its answer was true at some moment between ``asked_ns`` and
``answered_ns``. A message is *surely* early only when a look that was answered before ``sent + limit`` shows it gone;
it is *surely* still there at ``asked_ns`` of the last look that shows it. Overshoot is taken from
the first look that shows it gone, so it is too large by at most the time between two looks.

Without positions only a count is seen. Retention removes the oldest first, so a count that fell by k says that
the k oldest are gone; the marks say which of the two ways was used.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from brokerbench.brokers.types import Outcome
from brokerbench.scenarios.base import Examination, Measured
from brokerbench.scenarios.history import History
from brokerbench.scenarios.history.stamp import INTACT
from brokerbench.scenarios.verdicts import Finding

_CLOCK_TOLERANCE_NS = 2_000_000
"""Error of an age, in ns, as broker times are whole milliseconds: it can look shorter by this much."""
_MAX_SAMPLES = 100
_NO_LOOK = "nothing was watched"

Times = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Watched:
    """Acknowledged sends of one role, oldest first, and when each was seen to be gone (-1 = never)."""

    seq: Times
    sent_ns: Times
    gone_ns: Times
    limit_ns: int


def examine(history: History) -> Examination:
    """All findings of the retention scenario."""
    unread, large = watched(history, "unread"), watched(history, "large")
    kept = _kept_beyond_size(history)
    findings = [
        _by_age(unread),
        _by_size(history, kept),
        _not_early([unread, large]),
        _overshoot("retention.overshoot", unread, ""),
        _overshoot("retention.overshoot_large_segment", large, _why_not(history, "large")),
        Finding(
            "retention.size_excess", samples=kept, not_testable="" if kept else _why_not(history, "size") or _NO_LOOK
        ),
        _survives(history, "retention.unread_survives", "unread"),
        _survives(history, "retention.unacknowledged_survives", "held"),
        _survives(history, "retention.acknowledged_kept", "acked"),
    ]
    return Examination(findings, _curves(unread, large))


def watched(history: History, role: str) -> Watched | None:
    """None where the role has no age limit or was not watched."""
    limits = list(history.events("limit", role=role))
    looks = list(history.events("look", role=role))
    producers = history.producers(role=role)
    if not limits or limits[0]["age_s"] is None or not looks or not producers:
        return None
    acknowledged = history.outcomes() == Outcome.ACKNOWLEDGED
    rows = np.flatnonzero(acknowledged & np.isin(history.sends["producer"], producers))
    rows = rows[np.argsort(history.sends["seq"][rows])]
    if "count" in looks[0]:
        gone = _gone_by_count(len(rows), looks)
    else:
        places = history.outcome_column("place", -1)[rows]
        partitions = history.outcome_column("partition", -1)[rows]
        gone = _gone_by_position(partitions, places, looks)
    return Watched(history.sends["seq"][rows], history.sends["sent_ns"][rows], gone, round(limits[0]["age_s"] * 1e9))


def _gone_by_position(partitions: Times, places: Times, looks: Sequence[Mapping[str, Any]]) -> Times:
    gone = np.full(len(places), -1, np.int64)
    answered = np.array([look["answered_ns"] for look in looks], np.int64)
    for partition in np.unique(partitions):
        first = np.array([look["first"].get(str(partition), -1) for look in looks], np.int64)
        first = np.maximum.accumulate(first)
        ours = np.flatnonzero(partitions == partition)
        at = np.searchsorted(first, places[ours], side="right")
        seen = at < len(looks)
        gone[ours[seen]] = answered[at[seen]]
    return gone


def _gone_by_count(sent: int, looks: Sequence[Mapping[str, Any]]) -> Times:
    """The k-th oldest is gone at the first look after which no look ever shows more than ``sent - k`` kept.

    A count taken while messages were still being sent says nothing: only looks after the largest count are used.
    """
    counts = np.array([look["count"] for look in looks], np.int64)
    answered = np.array([look["answered_ns"] for look in looks], np.int64)
    peak = int(np.flatnonzero(counts == counts.max())[-1])
    gone = np.full(sent, -1, np.int64)
    # A later, larger count takes back what an earlier one seemed to show (counts are approximate on the service).
    ceiling = np.maximum.accumulate(counts[peak:][::-1])[::-1]
    missing = sent - ceiling
    order = np.arange(1, sent + 1)
    at = np.searchsorted(missing, order, side="left")
    seen = at < len(missing)
    gone[seen] = answered[peak:][at[seen]]
    return gone


def _by_age(unread: Watched | None) -> Finding:
    if unread is None:
        return Finding("retention.by_age", not_testable=_NO_LOOK)
    remaining = unread.gone_ns < 0
    return Finding(
        "retention.by_age",
        observations=len(unread.seq),
        violations=int(remaining.sum()),
        offenders=tuple({"role": "unread", "seq": int(seq)} for seq in unread.seq[remaining][:10]),
        remarks=(f"limit {unread.limit_ns / 1e9:g} s", "a violation is a message still there when the watch ended"),
    )


def _not_early(parts: Sequence[Watched | None]) -> Finding:
    watched_parts = [part for part in parts if part is not None]
    if not watched_parts:
        return Finding("retention.not_early", not_testable=_NO_LOOK)
    violations, offenders = 0, []
    for part in watched_parts:
        age_ns = part.gone_ns - part.sent_ns
        early = (part.gone_ns >= 0) & (age_ns < part.limit_ns - _CLOCK_TOLERANCE_NS)
        violations += int(early.sum())
        offenders += [
            {"seq": int(seq), "gone_after_s": float(age) / 1e9}
            for seq, age in zip(part.seq[early][:10], age_ns[early][:10], strict=True)
        ]
    return Finding(
        "retention.not_early",
        observations=sum(len(part.seq) for part in watched_parts),
        violations=violations,
        offenders=tuple(offenders[:10]),
        remarks=("each message was watched until it was gone",),
    )


def _overshoot(name: str, part: Watched | None, not_testable: str) -> Finding:
    if part is None:
        return Finding(name, not_testable=not_testable or _NO_LOOK)
    samples = _overshoot_s(part)
    return Finding(
        name,
        observations=len(samples),
        samples=tuple(_thin(samples)),
        remarks=(f"{len(samples)} messages over a limit of {part.limit_ns / 1e9:g} s",),
    )


def _overshoot_s(part: Watched) -> npt.NDArray[np.float64]:
    gone = part.gone_ns >= 0
    return (part.gone_ns[gone] - part.sent_ns[gone] - part.limit_ns) / 1e9


def _thin(values: npt.NDArray[np.float64]) -> list[float]:
    """At most ``_MAX_SAMPLES`` evenly spaced quantiles: the distribution, small enough for a result."""
    few = len(values) <= _MAX_SAMPLES
    return list(map(float, np.sort(values) if few else np.quantile(values, np.linspace(0.0, 1.0, _MAX_SAMPLES))))


def _why_not(history: History, role: str) -> str:
    marks = (mark for event in ("not_testable", "refused") for mark in history.events(event, role=role))
    return next((str(mark["reason"]) for mark in marks), "")


def _kept_beyond_size(history: History) -> tuple[float, ...]:
    """(kept - limit) / limit at the last look at the ``size`` channel; empty when there was none."""
    limits = list(history.events("limit", role="size"))
    looks = list(history.events("look", role="size"))
    if not limits or not looks:
        return ()
    producers = history.producers(role="size")
    rows = np.flatnonzero((history.outcomes() == Outcome.ACKNOWLEDGED) & np.isin(history.sends["producer"], producers))
    partitions = history.outcome_column("partition", -1)[rows]
    places = history.outcome_column("place", -1)[rows]
    kept = np.zeros(len(rows), bool)
    for partition, first in looks[-1]["first"].items():
        kept |= (partitions == int(partition)) & (places >= first)
    if limits[0]["bytes"] is not None:
        return (float(history.sends["size"][rows[kept]].sum()) / limits[0]["bytes"] - 1.0,)
    return (float(kept.sum()) / limits[0]["messages"] - 1.0,)


def _by_size(history: History, kept: tuple[float, ...]) -> Finding:
    refusal = _why_not(history, "size")
    if refusal:
        return Finding("retention.by_size", observations=1, violations=1, remarks=(f"refused: {refusal}",))
    if not kept:
        return Finding("retention.by_size", not_testable=_NO_LOOK)
    sent_beyond = 2.0  # three times the limit was sent
    removed = kept[0] < sent_beyond - 0.01
    return Finding(
        "retention.by_size", observations=1, violations=int(not removed), remarks=("three times the limit was sent",)
    )


def _survives(history: History, name: str, role: str) -> Finding:
    """How many of the role's messages were seen at the second look, intact."""
    looks = list(history.events("looked", role=role))
    if not looks:
        return Finding(name, not_testable=_why_not(history, role) or _NO_LOOK)
    if not looks[0]["proven"]:
        return Finding(name, not_testable="the second look did not see a fresh message either: it proves nothing")
    wanted = _subjects(history, role)
    later = history.readers(role=role, stage="after")
    rows = np.isin(history.deliveries["reader"], later) & (history.deliveries["status"] == INTACT)
    rows &= np.isin(history.deliveries["producer"], history.producers(role=role))
    again = np.intersect1d(wanted, history.deliveries["seq"][rows])
    return Finding(
        name,
        observations=len(wanted),
        violations=len(wanted) - len(again),
        remarks=(f"{len(again)} of {len(wanted)} messages were seen again",),
    )


def _subjects(history: History, role: str) -> Times:
    """Sequence numbers that the second look expects: those taken at the first look, or (``unread``) all sent."""
    first = history.readers(role=role, stage="before")
    if first:
        rows = np.isin(history.deliveries["reader"], first) & (history.deliveries["status"] == INTACT)
        seqs: Times = np.unique(history.deliveries["seq"][rows])
        # Message 0 of "held" was acknowledged at once: it only shows that the consumer had joined.
        return seqs[seqs > 0] if role == "held" else seqs
    producers = history.producers(role=role)
    sent: Times = history.sends["seq"][np.isin(history.sends["producer"], producers)]
    return sent


def _curves(unread: Watched | None, large: Watched | None) -> list[Measured]:
    return [
        Measured("overshoot", "s", tuple(_thin(_overshoot_s(part))), {"segments": segments}, better="lower")
        for part, segments in ((unread, "small"), (large, "default"))
        if part is not None and (part.gone_ns >= 0).any()
    ]
