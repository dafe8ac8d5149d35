"""The end of a run on a terminal: verdicts counted for each cell, figures, failures; plain text."""

from __future__ import annotations

from collections.abc import Sequence

from brokerbench.reports import facts, speeds, words
from brokerbench.scenarios.results import RunResult
from brokerbench.scenarios.verdicts import Verdict

_HEAD = ("cell", "status", "confirmed", "refuted", "inconclusive", "not testable", "grade", "time")


def text(result: RunResult) -> str:
    """Tables in plain text, without colour or width of a terminal."""
    parts = [_verdicts(result), _speeds(result), _refuted(result), _failures(result)]
    if not result.complete:
        parts.append("The run was cut short: only the cells above ended before.")
    return "\n\n".join(part for part in parts if part)


def table(head: Sequence[str], rows: Sequence[Sequence[str]], right: Sequence[int] = ()) -> str:
    """Columns as wide as their longest text; those in ``right`` are right-aligned."""
    widths = [max(len(row[at]) for row in (head, *rows)) for at in range(len(head))]

    def line(row: Sequence[str]) -> str:
        texts = [
            text.rjust(width) if at in right else text.ljust(width)
            for at, (text, width) in enumerate(zip(row, widths, strict=True))
        ]
        return "  ".join(texts).rstrip()

    return "\n".join([line(head), line(["-" * width for width in widths]), *map(line, rows)])


def _verdicts(result: RunResult) -> str:
    rows = []
    for cell in result.cells:
        counted = facts.counts(cell.verdicts)
        numbers = [str(counted[verdict]) if counted[verdict] else "·" for verdict in _COLUMNS]
        status = "FAILED" if cell.status == "failed" else "ok"
        rows.append([cell.id, status, *numbers, cell.grade.value, f"{cell.duration_s:.0f} s"])
    return table(_HEAD, rows, right=(2, 3, 4, 5, 7)) if rows else "no cell was run"


_COLUMNS = (Verdict.CONFIRMED, Verdict.REFUTED, Verdict.INCONCLUSIVE, Verdict.NOT_TESTABLE)


def _speeds(result: RunResult) -> str:
    rows = [
        [
            speed.profile,
            speed.what,
            words.spread(speed.metric.samples, speed.metric.unit),
            f"ranks nothing: {speed.no_rank}" if speed.no_rank else "",
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


def _failures(result: RunResult) -> str:
    lines = [f"  {cell.id}: {cell.error}" for cell in facts.failed_cells(result)]
    return "\n".join(["Failed:", *lines]) if lines else ""
