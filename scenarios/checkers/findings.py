"""Putting findings together: of several channels, and of several shards of one channel."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from brokerbench.scenarios.checkers.index.channel_index import MAX_OFFENDERS, ChannelIndex
from brokerbench.scenarios.verdicts import Finding

_PLACE = ("received_ns", "reader", "batch", "slot")
_MESSAGE = ("producer", "seq")
_COUNT = re.compile(r"(^|; |, )(\d+) ")
"""A clause of a note that begins with a number counts something."""


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


def added(parts: Sequence[Finding]) -> Finding:
    """One finding of the same check on all shards of one channel: what it would have found on the whole.

    Counts are added, in notes too where a clause begins with one; the offenders are the first of all.
    """
    whole = combined(parts[0].property, parts)
    testable = [part for part in parts if not part.not_testable]
    offenders = first_of(offender for part in testable for offender in part.offenders)
    # What a part that saw nothing says of itself is not true of the whole.
    notes = [part.note for part in sorted(testable, key=_saw_nothing)]
    saw = any(not _saw_nothing(part) for part in testable)
    alike = {_COUNT.sub("", part.note) for part in testable if not _saw_nothing(part)}
    kept = [note for note in notes if not saw or _COUNT.sub("", note) in alike]
    return replace(whole, offenders=offenders, note=_added_notes(kept))


def of_group(finding: Finding, group: str) -> Finding:
    """The same finding, whose offenders name their group where there are several."""
    if not group:
        return finding
    return replace(finding, offenders=tuple({"group": group, **offender} for offender in finding.offenders))


def _saw_nothing(part: Finding) -> bool:
    return not (part.observations or part.unknown)


def first_of(offenders: Iterable[Mapping[str, object]]) -> tuple[Mapping[str, object], ...]:
    """Those that were never delivered, by producer and seq, then others by order of delivery: the first."""
    return tuple(sorted(offenders, key=_where)[:MAX_OFFENDERS])


def _where(offender: Mapping[str, object]) -> tuple[bool, *tuple[int, ...]]:
    delivered = "received_ns" in offender
    return (delivered, *(int(str(offender[name])) for name in (_PLACE if delivered else _MESSAGE)))


def _added_notes(notes: Iterable[str]) -> str:
    """Notes that differ in their counts alone become one."""
    totals: dict[str, list[int]] = {}
    for note in notes:
        words = _COUNT.sub(r"\1# ", note)
        counts = [int(found[2]) for found in _COUNT.finditer(note)]
        before = totals.setdefault(words, [0] * len(counts))
        totals[words] = [one + other for one, other in zip(before, counts, strict=True)]
    return "; ".join(_filled(words, counts) for words, counts in totals.items() if words)


def _filled(words: str, counts: Sequence[int]) -> str:
    for count in counts:
        words = words.replace("# ", f"{count} ", 1)
    return words


def with_waits(finding: Finding, record: ChannelIndex) -> Finding:
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
