"""Runs, reports and decisions. Apart from ``cli``, which refuses a wrong option faster than these imports take."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from contextlib import nullcontext
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from brokerbench.bench import store
from brokerbench.bench.engines.base import EngineChoice
from brokerbench.bench.errors import BadInput, BenchError, Interrupted
from brokerbench.bench.run.progress import Bars, Plain, Quiet
from brokerbench.bench.run.runner import RunRequest, run

if TYPE_CHECKING:
    from brokerbench.bench.commands.selection import Selection
    from brokerbench.scenarios.results import RunResult

REPORT = "report.html"


def measure(
    work: Selection, engine: EngineChoice, out: Path | None, seed: int, quiet: bool, scheduler: str
) -> tuple[RunResult, Path]:
    """Run it and write result and report. When something ends it early, the message says where the measured part is.

    A run that measured nothing leaves only the logs that say why.
    """
    if scheduler:
        from brokerbench.bench.load import hosts  # a second of imports, only where it is wanted

        hosts.check(scheduler)
    run_id = store.new_run_id(datetime.now(UTC))
    directory = store.create(out or Path("runs") / run_id)
    request = RunRequest(work.name, work.cells, engine, run_id, directory, seed, work.timeout_s, scheduler)
    watcher = _watcher(quiet)
    try:
        with nullcontext() if isinstance(watcher, Quiet) else watcher:
            result = run(request, watcher)
        write_report(result, directory / REPORT, "--out")
    except Interrupted:
        raise Interrupted(f"interrupted: {_left(directory, keep_logs=False)}") from None
    except BenchError as problem:
        raise type(problem)(f"{problem}; {_left(directory)}") from problem
    except OSError as problem:
        raise BadInput(f"{explain(problem, directory)}; {_left(directory)}") from problem
    except Exception as problem:
        log = store.log_traceback(directory)
        raise BenchError(
            f"unexpected {type(problem).__name__}: {problem}; {_left(directory)}; details: {log}"
        ) from problem
    return result, directory


def _left(directory: Path, keep_logs: bool = True) -> str:
    """Part of the message: where results or logs are after an early end."""
    if (directory / store.RESULT).exists():
        return f"what was measured is in {directory}"
    logs = store.discard_empty_run(directory, keep_logs)
    return f"nothing was measured; logs: {logs}" if logs else "nothing was measured"


def write_report(result: RunResult, path: Path, option: str) -> Path:
    """Raises BadInput that names the option. The pictures' libraries load only now."""
    from brokerbench.reports import html

    store.write_named(option, path, html.render(result, _selftest_seen_from(path)))
    return path


def _selftest_seen_from(report: Path) -> str:
    """A relative address for reports inside the project; empty elsewhere: it would reveal paths of this machine."""
    root = Path(__file__).resolve().parents[2]
    page, report = root / "docs" / "selftest.md", report.resolve()
    return os.path.relpath(page, report.parent) if page.exists() and report.is_relative_to(root) else ""


def write_record(result: RunResult, docs: Path) -> list[Path]:
    """Raises BadInput for a result whose verdicts do not follow from its own figures."""
    from brokerbench.brokers import registry
    from brokerbench.reports import record
    from brokerbench.scenarios import contradictions

    if problems := contradictions.of_result(result):
        raise BadInput(
            f"no record is written: run {result.run_id} contradicts itself: {_first(problems)}; "
            "`brokerbench analyse` judges it again from its histories"
        )
    try:
        return record.write_record(result, docs, registry.options())
    except OSError as problem:
        raise BadInput(f"--docs {docs}: {explain(problem, docs)}") from None


_NAMED = 3


def _first(problems: Sequence[str]) -> str:
    more = f"; and {len(problems) - _NAMED} more" if len(problems) > _NAMED else ""
    return "; ".join(problems[:_NAMED]) + more


def check_docs(docs: Path) -> None:
    """Raises BadInput now rather than after minutes of measuring."""
    try:
        docs.mkdir(parents=True, exist_ok=True)
    except OSError as problem:
        raise BadInput(f"--docs {docs}: cannot be used: {problem.strerror}") from None
    if not os.access(docs, os.W_OK):
        raise BadInput(f"--docs {docs}: cannot be written to")


def explain(problem: OSError, where: Path) -> str:
    """An error of the operating system in a sentence."""
    if store.is_full(problem):
        return f"no space left on the disk of {problem.filename or where}: free some, or name another place with --out"
    return f"{problem.filename}: {problem.strerror}" if problem.filename else str(problem)


def _watcher(quiet: bool) -> Bars | Plain | Quiet:
    if quiet:
        return Quiet()
    return Bars() if sys.stderr.isatty() else Plain()
