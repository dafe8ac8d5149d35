"""Whether HEAD is worse than BASE: verdicts, failures and speeds of rounds of two builds. Pure.

A verdict is a fact: one that changed for the worse is a regression at once. A speed is judged from repeats: one value
a round where there are several rounds of each build, else the repeats within the one round. The intervals of all speeds
hold together (each is asked for a confidence of ``1 - (1 - confidence) / n``), so that a long table is not wrong
more often than a short one. A difference counts only beyond the minimum effect and beyond the noise of the machine.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from brokerbench.scenarios.compare import comparability, difference
from brokerbench.scenarios.compare.comparability import Incomparable
from brokerbench.scenarios.compare.difference import Comparison
from brokerbench.scenarios.compare.rounds import Judged, Round, Series
from brokerbench.scenarios.verdicts import Verdict

CONFIDENCE = 0.95
FEWEST = 3
"""Least number of repeats on each side for an interval."""
Key = tuple[str, str]
"""A cell, and a property or series of it."""


class Change(StrEnum):
    WORSE = "worse"
    BETTER = "better"
    SAME = "same"
    UNDECIDED = "undecided"
    NEW = "new"


@dataclass(frozen=True, slots=True)
class VerdictChange:
    cell: str
    property: str
    base: str
    head: str
    change: Change
    note: str = ""


@dataclass(frozen=True, slots=True)
class SpeedChange:
    """``comparison`` is None where there was nothing to compare. ``threshold``: a difference must exceed it."""

    cell: str
    what: str
    unit: str
    better: str
    base: tuple[float, ...]
    head: tuple[float, ...]
    comparison: Comparison | None
    threshold: float
    change: Change
    note: str = ""


@dataclass(frozen=True, slots=True)
class Regression:
    """The whole comparison. ``differences`` are reported, not judged; ``in_turns``: base and head took turns."""

    base: tuple[str, ...]
    head: tuple[str, ...]
    differences: tuple[str, ...]
    cells: tuple[VerdictChange, ...]
    verdicts: tuple[VerdictChange, ...]
    speeds: tuple[SpeedChange, ...]
    minimum_effect: float
    confidence: float
    in_turns: bool

    @property
    def entries(self) -> tuple[VerdictChange | SpeedChange, ...]:
        return (*self.cells, *self.verdicts, *self.speeds)

    @property
    def worse(self) -> tuple[VerdictChange | SpeedChange, ...]:
        return tuple(entry for entry in self.entries if entry.change is Change.WORSE)


def judge(
    base: Sequence[Round],
    head: Sequence[Round],
    *,
    minimum_effect: float = 0.05,
    noise: Mapping[Key, float] | None = None,
) -> Regression:
    """Compare rounds of two builds, at least one of each.

    ``minimum_effect`` and ``noise`` are shares (0.05 = 5 %); ``noise``: the difference of equal rounds on this
    machine, for the speeds where it was measured. Raises Incomparable with every reason.
    """
    base, head = _by_time(base), _by_time(head)
    comparability.refuse_unlike(base, head)
    in_turns = comparability.took_turns([one.created for one in base], [one.created for one in head])
    return Regression(
        base=tuple(one.source for one in base),
        head=tuple(one.source for one in head),
        differences=tuple(comparability.differences(base, head)),
        cells=tuple(_failures(base, head)),
        verdicts=tuple(_verdicts(base, head)),
        speeds=tuple(_speeds(base, head, minimum_effect, noise or {}, in_turns)),
        minimum_effect=minimum_effect,
        confidence=CONFIDENCE,
        in_turns=in_turns,
    )


def _by_time(rounds: Sequence[Round]) -> list[Round]:
    return sorted(rounds, key=lambda one: one.created)


def _failures(base: Sequence[Round], head: Sequence[Round]) -> Iterable[VerdictChange]:
    """A failed cell is never averaged away: one round of head that failed is a failure."""
    for cell in dict.fromkeys(cell for one in head for cell in one.cells):
        before = [one.failed[cell] for one in base if cell in one.failed]
        after = [one.failed[cell] for one in head if cell in one.failed]
        if after:
            note = f"it failed in base too; {after[0]}" if before else after[0]
            yield VerdictChange(cell, "completes", "failed" if before else "completed", "failed", Change.WORSE, note)
        elif before:
            yield VerdictChange(cell, "completes", "failed", "completed", Change.BETTER)
        elif cell not in base[0].cells:
            yield VerdictChange(cell, "completes", "none", "completed", Change.NEW, "measured in head only")


_WORTH = {Verdict.CONFIRMED: 3, Verdict.INCONCLUSIVE: 2, Verdict.NOT_TESTABLE: 1, Verdict.REFUTED: 0}


def _verdicts(base: Sequence[Round], head: Sequence[Round]) -> Iterable[VerdictChange]:
    """Of several rounds the worst verdict stands for the side, and the others are reported."""
    before, after = _worst(base), _worst(head)
    failed = {cell for one in head for cell in one.failed}
    for cell, name in dict.fromkeys([*before, *after]):
        one, other = before.get((cell, name)), after.get((cell, name))
        if other is None:
            if one is not None and cell not in failed:
                yield VerdictChange(cell, name, one[0].verdict.value, "none", Change.WORSE, "no longer judged")
        elif one is None:
            yield VerdictChange(cell, name, "none", other[0].verdict.value, Change.NEW, other[0].reason)
        else:
            yield _verdict(one, other)


def _worst(rounds: Sequence[Round]) -> dict[Key, tuple[Judged, str]]:
    """The worst verdict on each property, and how the rounds disagree."""
    found: dict[Key, list[Judged]] = {}
    for one in rounds:
        for entry in one.verdicts:
            found.setdefault((entry.cell, entry.property), []).append(entry)
    return {
        key: (
            min(entries, key=lambda entry: _WORTH[entry.verdict]),
            " and ".join(sorted({entry.verdict.value for entry in entries})),
        )
        for key, entries in found.items()
    }


def _verdict(one: tuple[Judged, str], other: tuple[Judged, str]) -> VerdictChange:
    (before, base), (after, head) = one, other
    declared = f"declared {before.declared}, now {after.declared}" if before.declared != after.declared else ""
    change = Change.SAME
    if before.verdict is not after.verdict:
        # "Refuted" is knowledge: only a confirmation is better than it, else the evidence was lost.
        gained = after.verdict is Verdict.CONFIRMED or (
            before.verdict is Verdict.NOT_TESTABLE and after.verdict is Verdict.INCONCLUSIVE
        )
        change = Change.BETTER if gained else Change.WORSE
    reason = after.reason if change is not Change.SAME else ""
    note = "; ".join(text for text in (reason, declared) if text)
    return VerdictChange(before.cell, before.property, base, head, change, note)


def _speeds(
    base: Sequence[Round], head: Sequence[Round], minimum_effect: float, noise: Mapping[Key, float], in_turns: bool
) -> Iterable[SpeedChange]:
    before, after = repeats(base), repeats(head)
    judged = [
        key for key, (_, samples) in before.items() if key in after and min(len(samples), len(after[key][1])) >= FEWEST
    ]
    confidence = 1 - (1 - CONFIDENCE) / max(1, len(judged))
    failed = {cell for one in head for cell in one.failed}
    for key in dict.fromkeys([*before, *after]):
        if key not in after:
            entry, samples = before[key]
            if entry.cell not in failed:
                yield _unjudged(entry, samples, (), Change.WORSE, "no longer measured")
        elif key not in before:
            entry, samples = after[key]
            yield _unjudged(entry, (), samples, Change.NEW, "measured in head only")
        else:
            # Between runs that took no turns the machine may have drifted, at least as much as within them.
            own = 0.0 if in_turns else max(_spread(before[key][1]), _spread(after[key][1]))
            threshold = max(minimum_effect, noise.get(key, own))
            yield _speed(after[key][0], before[key][1], after[key][1], threshold, minimum_effect, confidence)


def repeats(rounds: Sequence[Round]) -> dict[Key, tuple[Series, tuple[float, ...]]]:
    """The values to judge each speed by: the middle of each round, or the repeats of the only one."""
    found: dict[Key, list[Series]] = {}
    for one in rounds:
        for entry in one.series:
            found.setdefault((entry.cell, entry.what), []).append(entry)
    if len(rounds) == 1:
        return {key: (entries[0], entries[0].samples) for key, entries in found.items()}
    return {
        key: (entries[-1], tuple(statistics.median(entry.samples) for entry in entries))
        for key, entries in found.items()
    }


def _spread(samples: Sequence[float]) -> float:
    """How far the repeats of one build are apart: 0.1 where the highest is 10 % above the lowest."""
    return max(samples) / min(samples) - 1 if len(samples) > 1 and min(samples) > 0 else 0.0


def _unjudged(
    entry: Series, base: tuple[float, ...], head: tuple[float, ...], change: Change, note: str
) -> SpeedChange:
    return SpeedChange(entry.cell, entry.what, entry.unit, entry.better, base, head, None, 0.0, change, note)


def _speed(
    entry: Series,
    base: tuple[float, ...],
    head: tuple[float, ...],
    threshold: float,
    minimum_effect: float,
    confidence: float,
) -> SpeedChange:
    if min(base) > 0 and min(head) <= 0 and entry.better == "higher":
        stood = sum(value <= 0 for value in head)
        return _unjudged(entry, base, head, Change.WORSE, f"stood still in {stood} of {len(head)} repeats")
    if min(*base, *head) <= 0:
        return _unjudged(entry, base, head, Change.UNDECIDED, "a repeat of 0 has no ratio")
    if min(len(base), len(head)) < FEWEST:
        note = f"too few repeats to judge: {len(base)} and {len(head)}; {FEWEST} of each are the least"
        return _unjudged(entry, base, head, Change.UNDECIDED, note)
    found = difference.compare(base, head, minimum_effect, confidence)
    notes = [f"limited by the {entry.limited_by}"] if entry.limited_by else []
    if threshold > minimum_effect:
        notes.append(f"equal things differ by {threshold:.0%} here")
    change = Change.SAME if found.judgement == "same" else Change.UNDECIDED
    if found.judgement == "different" and abs(math.log(found.ratio)) > math.log1p(threshold):
        change = Change.BETTER if (found.ratio > 1) == (entry.better == "higher") else Change.WORSE
    elif change is Change.UNDECIDED:
        half_width = math.expm1((math.log(found.high) - math.log(found.low)) / 2)
        notes.insert(0, f"too few or too uneven repeats: the interval is {half_width:.0%} to either side")
    return SpeedChange(
        entry.cell, entry.what, entry.unit, entry.better, base, head, found, threshold, change, "; ".join(notes)
    )


def measured_noise(rounds: Sequence[Round], count: int) -> dict[Key, float]:
    """The difference of two sides of ``count`` repeats of one build, for each speed of ``rounds`` with enough repeats.

    See ``difference.equal_difference``. Raises Incomparable where the rounds are not alike, or no speed has
    ``2 * count`` repeats.
    """
    rounds = _by_time(rounds)
    comparability.refuse_unlike(rounds[:1], rounds[1:])
    found = {
        key: difference.equal_difference(samples, count)
        for key, (_, samples) in repeats(rounds).items()
        if len(samples) >= 2 * count and min(samples) > 0
    }
    if not found:
        raise Incomparable([f"{rounds[0].source}: no speed has the {2 * count} repeats that measure noise"])
    return found
