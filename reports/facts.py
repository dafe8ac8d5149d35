"""A run's result, arranged for reading: the profiles that are options, and the observations of each property.

Several cells of a profile may examine a property. ``seen`` combines all their rows: counts add up, and the weightiest
verdict stands (a refutation before a confirmation, both before "inconclusive").
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from brokerbench.brokers.declarations import PROPERTIES, Kind, Property, Support
from brokerbench.reports import words
from brokerbench.scenarios.results import Cell, RunResult, VerdictRow
from brokerbench.scenarios.verdicts import Grade, Verdict, upper_bound_95

GROUPS: Mapping[str, str] = {name: name.title() for name in ("replay", "ordering", "retention", "delivery")}
"""First word of a property -> heading."""
PROPERTY_NAMES = tuple(PROPERTIES)


class PropertyOutcome(StrEnum):
    """The meaning of a verdict for a reader who would rely on the statement."""

    HOLDS = "holds"
    """It holds, as documented."""
    FAILS = "does not hold"
    """It does not hold, and the documentation says so."""
    REFUTED = "refuted"
    """The documentation and the measurement disagree."""
    OPEN = "inconclusive"
    UNTESTED = "not testable here"
    FAILED = "cell failed"
    MISSING = "not measured"


SYMBOLS: Mapping[PropertyOutcome, str] = {
    PropertyOutcome.HOLDS: "✔",
    PropertyOutcome.FAILS: "✘",
    PropertyOutcome.REFUTED: "‼",
    PropertyOutcome.OPEN: "?",
    PropertyOutcome.UNTESTED: words.NOTHING,
    PropertyOutcome.FAILED: "FAILED",
    PropertyOutcome.MISSING: "·",
}

MEANINGS: Mapping[PropertyOutcome, str] = {
    **{outcome: outcome.value for outcome in PropertyOutcome},
    PropertyOutcome.HOLDS: "holds, as declared",
    PropertyOutcome.FAILS: "does not hold, as declared",
    PropertyOutcome.REFUTED: "refuted: not as declared",
    PropertyOutcome.FAILED: "the cell failed",
}

_UNCONFIRMED = {
    Verdict.REFUTED: PropertyOutcome.REFUTED,
    Verdict.INCONCLUSIVE: PropertyOutcome.OPEN,
    Verdict.NOT_TESTABLE: PropertyOutcome.UNTESTED,
}
_WEIGHT = (Verdict.REFUTED, Verdict.CONFIRMED, Verdict.INCONCLUSIVE, Verdict.NOT_TESTABLE)


@dataclass(frozen=True, slots=True)
class EvidenceRow:
    """One row of evidence, and its cell."""

    cell: str
    row: VerdictRow


@dataclass(frozen=True, slots=True)
class Seen:
    """Everything that a run shows of one property of one profile. ``rows`` is empty if nothing was measured.

    ``failed``: ids of the profile's failed cells, any of which might have held a row.
    """

    profile: str
    about: Property
    rows: tuple[EvidenceRow, ...]
    failed: tuple[str, ...]

    @property
    def weightiest(self) -> VerdictRow:
        """The row with the weightiest verdict. Raises ValueError without rows."""
        return min(self.rows, key=lambda entry: _WEIGHT.index(entry.row.verdict)).row

    @property
    def outcome(self) -> PropertyOutcome:
        if not self.rows:
            return PropertyOutcome.FAILED if self.failed else PropertyOutcome.MISSING
        return outcome_of(self.weightiest)

    @property
    def observations(self) -> int:
        return sum(entry.row.measured.observations for entry in self.rows)

    @property
    def violations(self) -> int:
        return sum(entry.row.measured.violations for entry in self.rows)

    @property
    def open(self) -> int:
        """Cases that were required, not seen and not excused."""
        return sum(entry.row.measured.open for entry in self.rows)

    @property
    def unknown(self) -> int:
        """Cases left out because nothing could be required of them."""
        return sum(entry.row.measured.unknown for entry in self.rows)

    @property
    def samples(self) -> list[float]:
        return [value for entry in self.rows for value in entry.row.measured.samples]

    @property
    def missed(self) -> float | None:
        """95 % upper bound on the rate of unseen violations; None if one was seen or none could be."""
        if self.about.kind is not Kind.ALWAYS or self.violations or not self.observations:
            return None
        return upper_bound_95(self.observations, self.open)

    @property
    def grade(self) -> Grade | None:
        return self.weightiest.grade if self.rows else None


def outcome_of(row: VerdictRow) -> PropertyOutcome:
    """The meaning of one row of evidence."""
    if row.verdict is not Verdict.CONFIRMED:
        return _UNCONFIRMED[row.verdict]
    against = row.declared.support is Support.IMPOSSIBLE or (
        row.declared.support is Support.POSSIBLE and row.kind is Kind.ALWAYS
    )
    return PropertyOutcome.FAILS if against else PropertyOutcome.HOLDS


def profiles(result: RunResult) -> list[str]:
    """Profiles of the run, in the order of its plan."""
    return list(dict.fromkeys(cell.profile for cell in result.cells))


def options(result: RunResult) -> list[str]:
    """Profiles of the run that can be chosen: neither the reference nor ``noop``."""
    ruled_out = {cell.profile for cell in result.cells if cell.grade is Grade.MODEL}
    return [name for name in profiles(result) if name not in ruled_out]


def grade_of(result: RunResult, profile: str) -> Grade | None:
    return next((cell.grade for cell in result.cells if cell.profile == profile), None)


def seen(result: RunResult, profile: str, property_name: str) -> Seen:
    cells = [cell for cell in result.cells if cell.profile == profile]
    rows = tuple(EvidenceRow(cell.id, row) for cell in cells for row in cell.verdicts if row.property == property_name)
    failed = tuple(cell.id for cell in cells if cell.status == "failed")
    return Seen(profile, PROPERTIES[property_name], rows, failed)


def alone(cell: Cell, row: VerdictRow) -> Seen:
    """One row of evidence alone."""
    return Seen(cell.profile, PROPERTIES[row.property], (EvidenceRow(cell.id, row),), ())


def properties_of(group: str) -> list[Property]:
    """Properties under one heading of a report."""
    heads = ("delivery", "redelivery", "send") if group == "delivery" else (group,)
    return [entry for entry in PROPERTIES.values() if entry.name.partition(".")[0] in heads]


def examined(result: RunResult, profiles: Sequence[str], group: str) -> list[list[Seen]]:
    """Properties of a group that were examined on some profile, each on all profiles."""
    across = [[seen(result, profile, about.name) for profile in profiles] for about in properties_of(group)]
    return [found for found in across if any(one.rows or one.failed for one in found)]


def failed_cells(result: RunResult) -> list[Cell]:
    return [cell for cell in result.cells if cell.status == "failed"]


def disturbed_cells(result: RunResult) -> list[Cell]:
    """Cells during which others took the machine."""
    return [cell for cell in result.cells if cell.disturbed]


def counts(rows: Sequence[VerdictRow]) -> Mapping[Verdict, int]:
    """Number of rows with each verdict, zero included."""
    return {verdict: sum(row.verdict is verdict for row in rows) for verdict in Verdict}


def surroundings(result: RunResult) -> list[str]:
    """Where the real brokers ran and the load came from, as far as the result knows. Emulators are left out."""
    used = {cell.engine for cell in result.cells}
    real = [
        engine for engine in result.engines if engine.name in used and engine.grade in (Grade.SERVICE, Grade.SOFTWARE)
    ]
    here = [engine.product for engine in real if engine.kind in ("native", "docker")]
    elsewhere = [engine.product for engine in real if engine.kind == "external"]
    hosts = {cell.id: _hosts(cell) for cell in result.cells if _hosts(cell)}
    found = []
    if here:
        where = "one machine" if hosts else "one machine, which also ran its clients"
        found.append(
            f"Run as the real software on {where}: {words.listed(here)}; without replica or network between brokers. "
            "The record says nothing about failures of machines."
        )
    if elsewhere:
        found.append(
            f"Already running elsewhere: {words.listed(elsewhere)}; their machines, replicas and network are not known "
            "to this record."
        )
    if hosts:
        placed = words.listed([f"{name} on {number}" for name, number in hosts.items()])
        found.append(f"A scheduler placed the load on hosts, so that this was not one machine alone: {placed}.")
    return found


def _hosts(cell: Cell) -> int:
    """The hosts on which a scheduler placed load; 0 where all load came from the machine of the run."""
    return max((int(metric.labels["hosts"]) for metric in cell.metrics if "hosts" in metric.labels), default=0)
