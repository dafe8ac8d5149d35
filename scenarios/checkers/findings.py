"""Joins findings: of several channels, and of several shards of one channel."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import replace

from brokerbench.scenarios.checkers.index.channel_index import MAX_OFFENDERS, ChannelIndex
from brokerbench.scenarios.verdicts import Counts, Finding

_PLACE = ("received_ns", "reader", "batch", "slot")
_MESSAGE = ("producer", "seq")


def combined(name: str, parts: Iterable[Finding]) -> Finding:
    """One finding of several about the same property: counts are added, the first offenders kept."""
    seen = list(parts)
    testable = [part for part in seen if not part.not_testable]
    if not testable:
        reasons = dict.fromkeys(part.not_testable for part in seen)
        return Finding(name, not_testable="; ".join(reasons) or "nothing was observed")
    return Finding(
        name,
        observations=sum(part.observations for part in testable),
        violations=sum(part.violations for part in testable),
        samples=tuple(sample for part in testable for sample in part.samples),
        sample_lows=_lows(testable),
        unknown=sum(part.unknown for part in testable),
        open=sum(part.open for part in testable),
        offenders=tuple(offender for part in testable for offender in part.offenders)[:MAX_OFFENDERS],
        remarks=tuple(dict.fromkeys(remark for part in testable for remark in part.remarks)),
    )


def _lows(parts: Sequence[Finding]) -> tuple[float, ...]:
    """Of all samples, where some are intervals: an exact one is its own lower end."""
    if not any(part.sample_lows for part in parts):
        return ()
    return tuple(low for part in parts for low in part.sample_lows or part.samples)


def added(parts: Sequence[Finding]) -> Finding:
    """One finding of the same check on all shards of one channel: the finding that it would make of the whole.

    Counts are added, those of remarks too; the offenders are the first of all.
    """
    whole = combined(parts[0].property, parts)
    testable = [part for part in parts if not part.not_testable]
    offenders = first_of(offender for part in testable for offender in part.offenders)
    return replace(whole, offenders=offenders, remarks=_added_remarks(testable))


def of_group(finding: Finding, group: str) -> Finding:
    """The same finding; its offenders name their group, where there are several."""
    if not group:
        return finding
    return replace(finding, offenders=tuple({"group": group, **offender} for offender in finding.offenders))


def _saw_nothing(part: Finding) -> bool:
    return not (part.observations or part.unknown or part.open)


def first_of(offenders: Iterable[Mapping[str, object]]) -> tuple[Mapping[str, object], ...]:
    """The first offenders: those never delivered, by producer and seq, then the others in order of delivery."""
    return tuple(sorted(offenders, key=_where)[:MAX_OFFENDERS])


def _where(offender: Mapping[str, object]) -> tuple[bool, *tuple[int, ...]]:
    delivered = "received_ns" in offender
    return (delivered, *(int(str(offender[name])) for name in (_PLACE if delivered else _MESSAGE)))


def _added_remarks(parts: Sequence[Finding]) -> tuple[str | Counts, ...]:
    """Remarks that differ in their numbers alone become one. Parts that saw something come first.

    A remark of a part that saw nothing is not true of the whole, unless a part that saw something makes it, too.
    """
    saw = [part for part in parts if not _saw_nothing(part)]
    true = {_kind(remark) for part in saw or parts for remark in part.remarks}
    totals: dict[Hashable, str | Counts] = {}
    for remark in (remark for part in sorted(parts, key=_saw_nothing) for remark in part.remarks):
        if (kind := _kind(remark)) in true:
            totals[kind] = _sum(totals[kind], remark) if kind in totals else remark
    return tuple(totals.values())


def _kind(remark: str | Counts) -> Hashable:
    """Equal for remarks that differ in their numbers alone."""
    return remark if isinstance(remark, str) else (remark.about, *(what for what, _ in remark.of))


def _sum(one: str | Counts, other: str | Counts) -> str | Counts:
    """Of two remarks of one kind."""
    if isinstance(one, str) or isinstance(other, str):
        return one
    numbers = zip(one.of, other.of, strict=True)
    return Counts(tuple((what, number + more) for (what, number), (_, more) in numbers), one.about)


def with_waits(finding: Finding, index: ChannelIndex) -> Finding:
    """The same finding, with a remark for each wait on this channel that timed out."""
    waits = [
        f"{mark['what']} after {mark['waited_s']:g} s"
        for mark in index.history.events("timeout", channel=index.channel)
    ]
    return replace(finding, remarks=(*finding.remarks, *waits))


def spread(samples: Sequence[float], most: int = 100) -> tuple[float, ...]:
    """At most ``most`` samples of the same distribution: evenly spaced in sorted order, ends included."""
    ordered = sorted(samples)
    if len(ordered) <= most:
        return tuple(ordered)
    return tuple(ordered[round(at * (len(ordered) - 1) / (most - 1))] for at in range(most))
