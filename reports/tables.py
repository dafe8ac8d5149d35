"""Texts of the tables of the record, of the HTML report, and of the end of a run on a terminal."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from brokerbench.brokers.declarations import Kind, Property, Provider, Support
from brokerbench.reports import facts, speeds, words
from brokerbench.reports.facts import PropertyOutcome, Seen
from brokerbench.scenarios.results import Declared, RunResult
from brokerbench.scenarios.verdicts import Verdict


@dataclass(frozen=True, slots=True)
class Untested:
    """Properties of one profile that could not be tested, for the same reason."""

    profile: str
    properties: tuple[str, ...]
    reason: str
    cell: str


def declared(declaration: Declared, about: Property) -> str:
    """``guaranteed``, ``0 to 2 s``, ``possible, by the adapter``."""
    text = words.SUPPORT_WORDS[declaration.support]
    if about.kind is Kind.QUANTITY and declaration.support is not Support.IMPOSSIBLE:
        text = _bounds(declaration, about.unit)
    return f"{text}, by the adapter" if declaration.provided_by is Provider.ADAPTER else text


def _bounds(declaration: Declared, unit: str) -> str:
    low, high = declaration.low, declaration.high
    if high is None:
        return "no bound" if low is None else f"from {words.amount(low, unit)}, no upper bound"
    if low is None:
        return f"up to {words.amount(high, unit)}"
    return f"{words.amount(low, unit)} to {words.amount(high, unit)}"


def measured(seen: Seen) -> str:
    """Counts or samples, with n, and the cases that were not seen; a dash if there are none."""
    unseen = [
        f"{words.count(number)} {of}"
        for number, of in ((seen.open, "required and not seen"), (seen.unknown, "of unknown fate left out"))
        if number
    ]
    return "; ".join([_counted(seen), *unseen])


def _counted(seen: Seen) -> str:
    if seen.about.kind is Kind.QUANTITY:
        if not seen.samples:
            return words.NOTHING
        return f"{words.spread(seen.samples, seen.about.unit)}, n = {words.count(len(seen.samples))}"
    if not seen.observations:
        return words.NOTHING
    if seen.about.kind is Kind.CAN:
        return f"{words.count(seen.observations - seen.violations)} of {words.count(seen.observations)} attempts worked"
    return f"{words.count(seen.violations)} violations, n = {words.count(seen.observations)}"


def middle(seen: Seen) -> str:
    """The median of a quantity that was judged; empty if there is none."""
    judged = seen.outcome in (PropertyOutcome.HOLDS, PropertyOutcome.OPEN, PropertyOutcome.REFUTED)
    return words.amount(words.median(seen.samples), seen.about.unit) if judged and seen.samples else ""


def missed(seen: Seen) -> str:
    """The rate of violations that may have been missed; a dash where no such rate exists."""
    return words.NOTHING if seen.missed is None else f"< {words.rate(seen.missed)}"


def surprises(result: RunResult, profiles: Sequence[str]) -> list[Seen]:
    """Properties on which documentation and measurement disagree."""
    every = (facts.seen(result, profile, name) for profile in profiles for name in facts.PROPERTY_NAMES)
    return [seen for seen in every if seen.outcome is PropertyOutcome.REFUTED]


def gaps(result: RunResult, profiles: Sequence[str]) -> list[Untested]:
    """Untested properties by profile and reason, in order of appearance."""
    grouped: dict[tuple[str, str], list[tuple[str, str]]] = {}
    for profile in profiles:
        for name in facts.PROPERTY_NAMES:
            seen = facts.seen(result, profile, name)
            if seen.outcome is PropertyOutcome.UNTESTED:
                row = next(entry for entry in seen.rows if entry.row.verdict is Verdict.NOT_TESTABLE)
                grouped.setdefault((profile, row.row.reason), []).append((name, row.cell))
    return [
        Untested(profile, tuple(name for name, _ in found), reason, found[0][1])
        for (profile, reason), found in grouped.items()
    ]


def living_with(result: RunResult, profile: str) -> tuple[list[str], list[str]]:
    """The price of a profile: statements that do not hold, and statements that only the adapter makes true."""
    fails, by_adapter = [], []
    for name in facts.PROPERTY_NAMES:
        seen = facts.seen(result, profile, name)
        if seen.about.kind is Kind.QUANTITY:
            if seen.outcome is PropertyOutcome.REFUTED:
                text = f"{measured(seen)}; declared {declared(seen.weightiest.declared, seen.about)}"
                fails.append(f"the declared bound on the {seen.about.statement} ({text})")
        elif seen.outcome in (PropertyOutcome.FAILS, PropertyOutcome.REFUTED):
            fails.append(seen.about.statement)
        elif seen.outcome is PropertyOutcome.HOLDS and seen.weightiest.declared.provided_by is Provider.ADAPTER:
            by_adapter.append(seen.about.statement)
    return fails, by_adapter


_COLUMNS = (Verdict.CONFIRMED, Verdict.REFUTED, Verdict.INCONCLUSIVE, Verdict.NOT_TESTABLE)
_HEAD = ("cell", "status", "confirmed", "refuted", "inconclusive", "not testable", "grade", "time")


def text(result: RunResult) -> str:
    """Tables in plain text, without colour or width of a terminal."""
    parts = [_verdicts(result), _speeds(result), _refuted(result), _sends(result), _left_out(result)]
    parts += [_failures(result), _disturbed(result)]
    if not result.complete:
        parts.append("The run was cut short: only the cells above ended before.")
    return "\n\n".join(part for part in parts if part)


def table(head: Sequence[str], rows: Sequence[Sequence[str]], right: Sequence[int] = ()) -> str:
    """Columns as wide as their longest text; those in ``right`` are right-aligned."""
    widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]
    forms = [f"{'>' if at in right else '<'}{width}" for at, width in enumerate(widths)]

    def line(row: Sequence[str]) -> str:
        return "  ".join(map(format, row, forms)).rstrip()

    return "\n".join([line(head), line(["-" * width for width in widths]), *map(line, rows)])


def _verdicts(result: RunResult) -> str:
    rows = []
    for cell in result.cells:
        counted = facts.counts(cell.verdicts)
        numbers = [str(counted[verdict] or "·") for verdict in _COLUMNS]
        status = "FAILED" if cell.status == "failed" else "ok"
        rows.append([cell.id, status, *numbers, cell.grade.value, f"{cell.duration_s:.0f} s"])
    return table(_HEAD, rows, right=(2, 3, 4, 5, 7)) if rows else "no cell was run"


def _speeds(result: RunResult) -> str:
    rows = [
        [
            speed.profile,
            speed.what,
            words.spread(speed.metric.samples, speed.metric.unit),
            "; ".join(
                filter(None, [f"ranks nothing: {speed.no_rank}" if speed.no_rank else "", speed.not_acknowledged])
            ),
        ]
        for speed in speeds.of_run(result, facts.profiles(result))
    ]
    return table(("profile", "speed", "median (range of repeats)", ""), rows) if rows else ""


def _refuted(result: RunResult) -> str:
    lines = [
        f"  {cell.id}: {row.property}: {row.reason}; declared {row.declared.support.value} ({row.source})"
        for cell in result.cells
        for row in cell.verdicts
        if row.verdict is Verdict.REFUTED
    ]
    return "\n".join(["Not as declared:", *lines]) if lines else ""


def _sends(result: RunResult) -> str:
    told = [(cell.id, words.not_acknowledged(cell.sends)) for cell in result.cells if cell.status == "completed"]
    lines = [f"  {cell}: {text}" for cell, text in told if text]
    return "\n".join(["Sends that were not acknowledged:", *lines]) if lines else ""


def _left_out(result: RunResult) -> str:
    lines = [f"  {cell.id}: {what}: {why}" for cell in result.cells for what, why in cell.left_out.items()]
    return "\n".join(["Left out:", *lines]) if lines else ""


def _failures(result: RunResult) -> str:
    lines = [f"  {cell.id}: {cell.failure}" for cell in facts.failed_cells(result)]
    return "\n".join(["Failed:", *lines]) if lines else ""


def _disturbed(result: RunResult) -> str:
    lines = [f"  {cell.id}: {cell.disturbed}" for cell in facts.disturbed_cells(result)]
    head = "Other work ran on the machine; speeds from disturbed windows rank nothing, no bound in time is refuted:"
    return "\n".join([head, *lines]) if lines else ""
