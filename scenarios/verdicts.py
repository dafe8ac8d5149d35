"""Declared against measured.

A finding is a fact about a history. A declaration is an expectation. ``judge`` sets one against the
other; it is the only place where a verdict is made. Absence of evidence is never turned into
evidence: "confirmed guaranteed" means "no violation in n", and says the rate that could have been missed.
"""

from __future__ import annotations

import builtins
import math
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from brokerbench.brokers.declarations import PROPERTIES, Declaration, Kind, Support

MIN_OBSERVATIONS = 100
"""Least number of opportunities for a violation that confirms a guarantee (fewer: 95 % bound above 3 %)."""


class Grade(StrEnum):
    """The worth of evidence."""

    SERVICE = "service"
    SOFTWARE = "software"
    EMULATOR = "emulator"
    MODEL = "model"


class Verdict(StrEnum):
    CONFIRMED = "confirmed"
    REFUTED = "refuted"
    INCONCLUSIVE = "inconclusive"
    NOT_TESTABLE = "not testable here"


class Count(StrEnum):
    """A count beside observations and violations, by its name in a result."""

    NEVER_SENT = "never_sent"
    REJECTED = "rejected"
    OVERTAKEN = "overtaken"
    OVERLAPPING = "overlapping"
    LEGAL_REDELIVERIES = "legal_redeliveries"
    UNCLAIMED_MESSAGES = "unclaimed_messages"
    UNCLAIMED_LETTERS = "unclaimed_letters"


_IN_WORDS: Mapping[Count, str] = {
    Count.NEVER_SENT: "never sent",
    Count.REJECTED: "rejected and delivered all the same",
    Count.OVERTAKEN: "delivered before an earlier one",
    Count.OVERLAPPING: "delivered to another consumer while an earlier one was in process",
    Count.LEGAL_REDELIVERIES: "redeliveries of messages that were not acknowledged (legal)",
    Count.UNCLAIMED_MESSAGES: "missing messages are not claimed: as many deliveries could not be identified",
    Count.UNCLAIMED_LETTERS: "missing letters are not claimed: as many could not be identified",
}


@dataclass(frozen=True, slots=True)
class Counts:
    """A remark that counts. ``about``: the part of the experiment that it is about, where there are several."""

    of: tuple[tuple[Count, int], ...]
    about: str = ""

    def __str__(self) -> str:
        counted = ", ".join(f"{number} {_IN_WORDS[what]}" for what, number in self.of)
        return f"{self.about}: {counted}" if self.about else counted


@dataclass(frozen=True, slots=True)
class Finding:
    """The observations of a checker about one property.

    ``observations`` counts opportunities: pairs whose order was compared, messages looked for,
    attempts made. ``violations`` of them went against the statement; the others held.
    ``samples`` are the values of a QUANTITY. Where each is known to lie in an interval only, they are the upper ends,
    and ``sample_lows`` the lower ones, in the same order. ``not_testable`` gives the reason why nothing could be
    observed. ``unknown`` counts cases left out because nothing could be required of them: a send whose fate is unknown.
    ``open`` counts cases that were required, not seen, and not excused: the observation ended before it could tell.
    Neither is an observation, and ``open`` ones never count as fine.
    ``offenders`` are the first violations, fit for JSON. ``remarks`` explain the figures to a reader.
    ``disturbed`` says in words that others took the machine meanwhile: then no bound in time is refuted.
    """

    property: str
    observations: int = 0
    violations: int = 0
    samples: tuple[float, ...] = ()
    unknown: int = 0
    offenders: tuple[Mapping[str, object], ...] = ()
    remarks: tuple[str | Counts, ...] = ()
    not_testable: str = ""
    open: int = 0
    sample_lows: tuple[float, ...] = ()
    disturbed: str = ""

    @builtins.property  # a field hides it
    def note(self) -> str:
        """All remarks in words."""
        return "; ".join(map(str, self.remarks))

    @builtins.property
    def counts(self) -> dict[str, int]:
        """All that the remarks count, added."""
        totals: dict[str, int] = {}
        for remark in self.remarks:
            for what, number in remark.of if isinstance(remark, Counts) else ():
                totals[what.value] = totals.get(what.value, 0) + number
        return totals


@dataclass(frozen=True, slots=True)
class Judgement:
    """A verdict, the sentence that gives its reason, and the bound on the rate of unseen violations."""

    verdict: Verdict
    reason: str
    missed_rate_upper_95: float | None = None


@dataclass(frozen=True, slots=True)
class _Rule:
    """The verdict on violations and on their absence, for one pair of kind and modality."""

    on_violation: Verdict
    on_clean: Verdict
    clean_needs: int = 1


_TIMES = ("s", "ms", "us")

_C, _R, _I = Verdict.CONFIRMED, Verdict.REFUTED, Verdict.INCONCLUSIVE

# ALWAYS: "violation" is a message against the rule. CAN: a "violation" is a failed attempt, and
# "clean" means that every attempt succeeded; one success is a sighting (see ``_judge_capability``).
_ALWAYS_RULES: Mapping[Support, _Rule] = {
    Support.GUARANTEED: _Rule(on_violation=_R, on_clean=_C, clean_needs=MIN_OBSERVATIONS),
    Support.POSSIBLE: _Rule(on_violation=_C, on_clean=_I),
    Support.IMPOSSIBLE: _Rule(on_violation=_C, on_clean=_R, clean_needs=MIN_OBSERVATIONS),
}


def upper_bound_95(observations: int, open_cases: int = 0) -> float:
    """Largest rate of violations that leaves a 5 % chance of seeing none in ``observations``.

    ``open_cases``: further cases that were not seen; each could be a violation.
    """
    if observations <= 0:
        return 1.0
    unseen: float = 1.0 - 0.05 ** (1.0 / observations)
    return (open_cases + unseen * observations) / (open_cases + observations)


def judge(declaration: Declaration, finding: Finding) -> Judgement:
    """Set one finding against one declaration."""
    if declaration.client_lacks:
        return Judgement(Verdict.NOT_TESTABLE, declaration.client_lacks)
    if finding.not_testable:
        return Judgement(Verdict.NOT_TESTABLE, finding.not_testable)
    kind = PROPERTIES[finding.property].kind
    if kind is Kind.QUANTITY:
        return _judge_quantity(declaration, finding)
    if declaration.support is Support.UNDECLARED:
        return Judgement(_I, f"nothing is declared; {_seen(finding)}", _bound(finding))
    if kind is Kind.CAN:
        return _judge_capability(declaration.support, finding)
    return _judge_statement(declaration.support, finding)


def _seen(finding: Finding) -> str:
    return f"{finding.violations} violations in {finding.observations} observations{_and_open(finding)}"


def _and_open(finding: Finding) -> str:
    return f", {finding.open} more required and not seen" if finding.open else ""


def _bound(finding: Finding) -> float | None:
    if finding.violations or not finding.observations:
        return None
    return upper_bound_95(finding.observations, finding.open)


def _judge_statement(support: Support, finding: Finding) -> Judgement:
    rule = _ALWAYS_RULES[support]
    if finding.violations:
        return Judgement(rule.on_violation, _seen(finding))
    if finding.open:
        return Judgement(
            _I,
            f"no violation in {finding.observations} observations, but {finding.open} more were required and not seen",
            _bound(finding),
        )
    if finding.observations < rule.clean_needs:
        return Judgement(
            _I,
            f"no violation, but only {finding.observations} observations (at least {rule.clean_needs} are needed)",
            _bound(finding),
        )
    reason = f"no violation in {finding.observations} observations"
    if rule.on_clean is _I:
        reason += "; absence does not show that a violation is impossible"
    return Judgement(rule.on_clean, reason, _bound(finding))


def _judge_capability(support: Support, finding: Finding) -> Judgement:
    attempts, failures = finding.observations, finding.violations
    successes = attempts - failures
    reason = f"{successes} of {attempts} attempts succeeded"
    if finding.open:
        reason += f", {finding.open} more ended before they could"
    if not attempts:
        return Judgement(_I, reason if finding.open else "no attempt was made")
    if support is Support.GUARANTEED:
        return Judgement(_R if failures else _I if finding.open else _C, reason)
    if support is Support.IMPOSSIBLE:
        return Judgement(_R if successes else _I if finding.open else _C, reason)
    return Judgement(_C if successes else _I, reason)


def _judge_quantity(declaration: Declaration, finding: Finding) -> Judgement:
    if declaration.support is Support.IMPOSSIBLE:
        if finding.samples:
            return Judgement(_R, f"declared impossible, and measured {len(finding.samples)} times")
        return Judgement(Verdict.NOT_TESTABLE, declaration.note or "the profile has no such thing")
    if not finding.samples:
        return Judgement(_I, "nothing was measured")
    if declaration.low is None and declaration.high is None:
        return Judgement(_I, "measured only: no bound is declared")
    low = -math.inf if declaration.low is None else declaration.low
    high = math.inf if declaration.high is None else declaration.high
    ends = list(zip(finding.sample_lows or finding.samples, finding.samples, strict=True))
    outside = sum(upper < low or lower > high for lower, upper in ends)
    inside = sum(low <= lower and upper <= high for lower, upper in ends)
    reason = f"{outside} of {len(ends)} samples outside the declared bound"
    if outside and finding.disturbed and in_time(finding.property):
        return Judgement(_I, f"{reason}, but the machine was {finding.disturbed}")
    if finding.open and not outside:
        return Judgement(_I, f"{reason}, but {finding.open} more never came")
    if outside or inside == len(ends):
        return Judgement(_R if outside else _C, reason)
    return Judgement(_I, f"{reason}; {len(ends) - inside} are not known well enough to be inside or outside")


def in_time(property_name: str) -> bool:
    """Whether it is a quantity of time, which a disturbed machine lengthens."""
    entry = PROPERTIES[property_name]
    return entry.kind is Kind.QUANTITY and entry.unit in _TIMES
