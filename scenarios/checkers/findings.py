"""Putting findings together."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from scenarios.checkers.record import MAX_OFFENDERS, Record
from scenarios.verdicts import Finding


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
        unknown=sum(part.unknown for part in testable),
        offenders=tuple(offender for part in testable for offender in part.offenders)[:MAX_OFFENDERS],
        note="; ".join(dict.fromkeys(part.note for part in testable if part.note)),
    )


def with_waits(finding: Finding, record: Record) -> Finding:
    """The same finding; waits on this channel that ran out stand in its note."""
    waits = [
        f"{mark['what']} after {mark['waited_s']:g} s"
        for mark in record.history.events("timeout", channel=record.channel)
    ]
    return replace(finding, note="; ".join(filter(None, [finding.note, *waits])))


def spread(samples: Sequence[float], most: int = 100) -> tuple[float, ...]:
    """At most ``most`` samples that show the same distribution: evenly spaced in sorted order, ends included."""
    ordered = sorted(samples)
    if len(ordered) <= most:
        return tuple(ordered)
    return tuple(ordered[round(at * (len(ordered) - 1) / (most - 1))] for at in range(most))
