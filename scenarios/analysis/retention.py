"""Findings of the retention scenario: from looks at what a channel keeps, and from readers of the whole channel.

Looks (``retention_looks``) follow what the broker says that it keeps, finely in time; reads (``checkers.expiry``)
show message by message whether that is true. A message is *surely* early only when a look or a read that was answered
before ``sent + limit`` shows it gone. Times and amounts that lie between two ends are samples with a lower end.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from brokerbench.brokers.types import Outcome
from brokerbench.scenarios.analysis.removal_lag import in_time
from brokerbench.scenarios.analysis.retention_looks import Times, Watched, watched
from brokerbench.scenarios.base import Examination, Measured
from brokerbench.scenarios.checkers import arrivals, expiry
from brokerbench.scenarios.checkers.findings import combined
from brokerbench.scenarios.checkers.index import channel_index
from brokerbench.scenarios.history import History
from brokerbench.scenarios.history.stamp import INTACT
from brokerbench.scenarios.verdicts import Finding

_CLOCK_TOLERANCE_NS = 2_000_000
"""Error of an age, in ns, as broker times are whole milliseconds: it can look shorter by this much."""
_MAX_SAMPLES = 100
_NO_LOOK = "nothing was watched"
_NOT_DELIVERED = "nothing was delivered"
LAST_READ = 0.75
"""Share of its limit up to which a message must have been read at least, or nothing is known of its last part."""
_REMOVED = 0.01
"""Share of a size limit of which more must be gone to say that something was removed."""


@dataclass(frozen=True, slots=True)
class Kept:
    """Amounts of the ``size`` channel, in the unit of its limit: bytes, or messages.

    ``most`` counts what was not acknowledged, and may have been kept; ``acknowledged`` is all that was acknowledged.
    """

    limit: float
    least: float
    most: float
    acknowledged: float


def examine(history: History) -> Examination:
    """All findings of the retention scenario."""
    unread, large = watched(history, "unread"), watched(history, "large")
    kept = _kept_of_size(history)
    findings = [
        combined(
            "retention.by_age",
            [
                in_time(history, "unread", _by_age(unread)),
                *(in_time(history, "read", finding) for finding in _read_late(history)),
            ],
        ),
        combined("retention.by_size", [in_time(history, "size", _by_size(history, kept)), *_read_beyond_size(history)]),
        combined("retention.not_early", [_not_early([unread, large]), *_read_early(history)]),
        in_time(history, "unread", _overshoot("retention.overshoot", unread, ""), all_gone=_all_gone(unread)),
        in_time(
            history,
            "large",
            _overshoot("retention.overshoot_large_segment", large, _why_not(history, "large")),
            all_gone=_all_gone(large),
        ),
        in_time(history, "size", _size_excess(history, kept)),
        in_time(history, "unread", _survives(history, "retention.unread_survives", "unread")),
        in_time(history, "held", _survives(history, "retention.unacknowledged_survives", "held")),
        _survives(history, "retention.acknowledged_kept", "acked"),
        _intact(history),
    ]
    return Examination(findings, _curves(unread, large))


def _all_gone(part: Watched | None) -> bool:
    return part is None or bool((part.gone_ns >= 0).all())


def _reads(history: History, role: str, **attributes: object) -> dict[str, list[Mapping[str, Any]]]:
    """Marks of whole reads of the role's channel, by channel: one, or none where nothing was read."""
    found: dict[str, list[Mapping[str, Any]]] = {}
    for mark in history.events("read", role=role, **attributes):
        found.setdefault(str(mark["channel"]), []).append(mark)
    return found


def _read_early(history: History) -> list[Finding]:
    """A message that was not looked for in the last part of its limit is left open."""
    found = []
    for channel, reads in _reads(history, "read", stage="before").items():
        index = channel_index.of_channel(history, channel)
        limit_s = float(reads[0]["limit_s"])
        watched_ns = channel_index.sent_ns(index) + int(LAST_READ * limit_s * 1e9)
        subjects = np.isin(index.sent.producer, history.producers(role="read"))
        subjects &= index.sent.outcome == Outcome.ACKNOWLEDGED
        unwatched = int((subjects & (expiry.seen_until_ns(index, reads, limit_s) < watched_ns)).sum())
        remark = f"{len(reads)} times all was read before the limit"
        finding = expiry.early(index, reads, limit_s)
        found.append(replace(finding, open=unwatched, remarks=(*finding.remarks, remark)))
    return found


def _read_late(history: History) -> list[Finding]:
    return [
        expiry.late(
            channel_index.of_channel(history, channel), reads, float(reads[0]["limit_s"]), float(reads[0]["allowed_s"])
        )
        for channel, reads in _reads(history, "read", stage="after").items()
    ]


def _read_beyond_size(history: History) -> list[Finding]:
    return [
        expiry.newest_kept(channel_index.of_channel(history, channel), reads)
        for channel, reads in _reads(history, "size").items()
    ]


def _intact(history: History) -> Finding:
    """Of all that was received or read, on every channel."""
    indexes = [channel_index.of_channel(history, channel) for channel in channel_index.channels(history)]
    found = [arrivals.altered(index, index.delivered) for index in indexes]
    if not any(finding.observations for finding in found):
        return Finding("delivery.intact", not_testable=_NOT_DELIVERED)
    return combined("delivery.intact", found)


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
    least, most = part.overshoot_s()
    return Finding(
        name,
        observations=len(most),
        samples=tuple(_thin(most)),
        sample_lows=tuple(_thin(least)),
        remarks=(f"{len(most)} messages over a limit of {part.limit_ns / 1e9:g} s",),
    )


def _thin(values: npt.NDArray[np.float64]) -> list[float]:
    """At most ``_MAX_SAMPLES`` evenly spaced quantiles: the distribution, small enough for a result.

    Of intervals both ends are thinned so, each by itself: the extremes of both stay, and they decide.
    """
    few = len(values) <= _MAX_SAMPLES
    return list(map(float, np.sort(values) if few else np.quantile(values, np.linspace(0.0, 1.0, _MAX_SAMPLES))))


def _why_not(history: History, role: str) -> str:
    marks = (mark for event in ("not_testable", "refused") for mark in history.events(event, role=role))
    return next((str(mark["reason"]) for mark in marks), "")


def _kept_of_size(history: History) -> Kept | None:
    """At the last look at the ``size`` channel; None when there was none."""
    limits = list(history.events("limit", role="size"))
    looks = list(history.events("look", role="size"))
    if not limits or not looks:
        return None
    ours = np.isin(history.sends["producer"], history.producers(role="size"))
    acknowledged = ours & (history.outcomes() == Outcome.ACKNOWLEDGED)
    by_bytes = limits[0]["bytes"] is not None
    weight = history.sends["size"].astype(np.float64) if by_bytes else np.ones(len(ours))
    kept = acknowledged & _is_kept(history, looks[-1]["first"])
    return Kept(
        limit=float(limits[0]["bytes"] if by_bytes else limits[0]["messages"]),
        least=float(weight[kept].sum()),
        most=float(weight[kept | (ours & ~acknowledged)].sum()),
        acknowledged=float(weight[acknowledged].sum()),
    )


def _is_kept(history: History, first: Mapping[str, int]) -> npt.NDArray[np.bool_]:
    """By send: whether it lies at or behind the first kept place of its partition."""
    partitions = history.outcome_column("partition", -1)
    places = history.outcome_column("place", -1)
    kept = np.zeros(len(places), bool)
    for partition, begin in first.items():
        kept |= (partitions == int(partition)) & (places >= begin)
    return kept


def _by_size(history: History, kept: Kept | None) -> Finding:
    refusal = _why_not(history, "size")
    if refusal:
        return Finding("retention.by_size", observations=1, violations=1, remarks=(f"refused: {refusal}",))
    if kept is None:
        return Finding("retention.by_size", not_testable=_NO_LOOK)
    removed = kept.acknowledged - kept.least > _REMOVED * kept.limit
    return Finding(
        "retention.by_size", observations=1, violations=int(not removed), remarks=("three times the limit was sent",)
    )


def _size_excess(history: History, kept: Kept | None) -> Finding:
    """(kept - limit) / limit, between what was kept at least and at most."""
    name = "retention.size_excess"
    if kept is None:
        return Finding(name, not_testable=_why_not(history, "size") or _NO_LOOK)
    least, most = (amount / kept.limit - 1.0 for amount in (kept.least, kept.most))
    return Finding(name, samples=(most,), sample_lows=() if least == most else (least,))


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
        Measured("overshoot", "s", tuple(_thin(part.overshoot_s()[1])), {"segments": segments}, better="lower")
        for part, segments in ((unread, "small"), (large, "default"))
        if part is not None and (part.gone_ns >= 0).any()
    ]
