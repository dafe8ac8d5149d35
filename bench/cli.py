"""The command line. Exit codes: 0 fine; 1 a cell failed or a check does not hold; 2 bad input;
3 engine not available; 130 interrupted (what was measured is kept).
"""

from __future__ import annotations

import json
import os
import random
import signal
import sys
from contextlib import nullcontext
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType
from typing import Annotated, NoReturn

import typer

from bench import doctor as diagnosis
from bench import errors, listing, runner, store
from bench.analyse import analyse as analyse_run
from bench.engines.base import EngineChoice
from bench.progress import Bars, Plain, Quiet, Watcher
from brokers import registry
from reports import html, record, summary
from scenarios import catalogue, documents, plan
from scenarios.plan import CellPlan
from scenarios.results import RunResult

app = typer.Typer(
    name="brokerbench",
    help="Measure what message brokers really do, and write the decision record from the evidence.",
    epilog="Exit codes: 0 fine, 1 a cell failed or a check does not hold, 2 bad input, 3 engine not available.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

PLANS = Path(__file__).parent / "plans"
OPTIONS = tuple(registry.BUILT_IN[i].profile for i in range(5))
"""The profiles that a plan runs on when it names none: the options of the decision."""

Profiles = Annotated[list[str] | None, typer.Option("--profile", help="Only these profiles (repeatable).")]
Scenarios = Annotated[list[str] | None, typer.Option("--scenario", help="Only these scenarios (repeatable).")]
Engine = Annotated[EngineChoice, typer.Option(help="How brokers are provided.")]
Out = Annotated[Path | None, typer.Option("--out", help="Directory of the run; new or empty. Default: runs/<id>.")]
Seed = Annotated[int | None, typer.Option(help="The same seed gives the same operations.", min=0, max=2**31 - 1)]
Json = Annotated[bool, typer.Option("--json", help="Print JSON for a program to read.")]
Quietly = Annotated[bool, typer.Option("--quiet", "-q", help="No progress.")]
Docs = Annotated[Path, typer.Option("--docs", help="Directory of decision-record.md and its evidence.")]
Run = Annotated[Path, typer.Argument(help="A run's directory, or its result.json.", metavar="RUN")]


@app.command()
def run(
    plan_name: Annotated[
        str, typer.Argument(metavar="PLAN", help="A plan file, or the name of one that ships.")
    ] = "quick",
    profile: Profiles = None,
    scenario: Scenarios = None,
    engine: Engine = EngineChoice.AUTO,
    out: Out = None,
    seed: Seed = None,
    quiet: Quietly = False,
    as_json: Json = False,
) -> None:
    """Run a plan, or the part of it that --profile and --scenario name."""
    result, directory = _measure(plan_name, profile or [], scenario or [], engine, out, seed, quiet or as_json)
    _show(result, directory, as_json)


@app.command()
def decide(
    run_directory: Annotated[
        Path | None, typer.Option("--run", help="Decide from this run; else the quick plan runs.")
    ] = None,
    check: Annotated[
        bool, typer.Option("--check", help="Only check that the record follows from its evidence.")
    ] = False,
    docs: Docs = Path("docs"),
    engine: Engine = EngineChoice.AUTO,
    out: Out = None,
    seed: Seed = None,
    quiet: Quietly = False,
) -> None:
    """Measure all five profiles and write the decision record with its evidence, and the HTML report."""
    if check:
        problems = record.check_record(docs)
        if problems:
            raise errors.CheckFailed("the decision record does not follow from its run: " + "; ".join(problems))
        typer.echo("the decision record follows from its run")
        return
    if run_directory is None:
        result, directory = _measure("quick", [], [], engine, out, seed, quiet)
    else:
        result, directory = store.load(run_directory), store.directory_of(run_directory)
    for path in record.write_record(result, docs):
        typer.echo(f"wrote {path}")
    _show(result, directory, as_json=False)


@app.command()
def report(
    run_directory: Run, html_path: Annotated[Path | None, typer.Option("--html", help="Where to write it.")] = None
) -> None:
    """Write the HTML report of a run (again)."""
    result = store.load(run_directory)
    path = html_path or store.directory_of(run_directory) / "report.html"
    store.write_text(path, html.render(result))
    typer.echo(f"wrote {path}")


@app.command()
def analyse(run_directory: Run, as_json: Json = False) -> None:
    """Judge a saved run again from its histories, without any broker."""
    result = analyse_run(store.directory_of(run_directory))
    _show(result, store.directory_of(run_directory), as_json)


@app.command("list")
def list_everything(as_json: Json = False) -> None:
    """Profiles, scenarios with their parameters, engines with versions and settings, plans, properties."""
    content = listing.everything(PLANS)
    typer.echo(json.dumps(content, indent=1) if as_json else listing.text(content))


@app.command()
def doctor(as_json: Json = False) -> None:
    """What this machine can run, what is missing, and the command that mends it."""
    checks = diagnosis.examine()
    typer.echo(json.dumps([asdict(check) for check in checks], indent=1) if as_json else diagnosis.text(checks))
    if any(check.required and not check.ok for check in checks):
        raise typer.Exit(errors.EngineUnavailable.exit_code)


def _measure(
    plan_name: str,
    profiles: list[str],
    scenarios: list[str],
    engine: EngineChoice,
    out: Path | None,
    seed: int | None,
    quiet: bool,
) -> tuple[RunResult, Path]:
    seed = random.SystemRandom().randrange(2**31) if seed is None else seed
    cells = _cells(plan_name, profiles, scenarios, seed)
    run_id = store.new_run_id(datetime.now(UTC))
    directory = store.create(out or Path("runs") / run_id)
    request = runner.Request(
        plan=Path(plan_name).stem, cells=cells, engine=engine, run_id=run_id, directory=directory, seed=seed
    )
    watcher = _watcher(quiet)
    try:
        with watcher if isinstance(watcher, Bars) else nullcontext():
            result = runner.run(request, watcher)
    except KeyboardInterrupt:
        typer.echo(f"interrupted: what was measured is in {directory}", err=True)
        raise typer.Exit(130) from None
    store.write_text(directory / "report.html", html.render(result))
    return result, directory


def _cells(plan_name: str, profiles: list[str], scenarios: list[str], seed: int) -> list[CellPlan]:
    known = registry.profiles()
    for word, names, option in ((profiles, known, "--profile"), (scenarios, catalogue.NAMES, "--scenario")):
        for name in word:
            if name not in names:
                raise errors.BadInput(f"{option} {name}: no such name; {documents.suggest(name, names)}")
    path = Path(plan_name)
    if not path.suffix and (PLANS / f"{plan_name}.yaml").exists():
        path = PLANS / f"{plan_name}.yaml"
    elif not path.exists():
        shipped = [entry.stem for entry in PLANS.glob("*.yaml")]
        raise errors.BadInput(
            f"no plan {plan_name!r}: neither a file nor one that ships ({', '.join(sorted(shipped))})"
        )
    try:
        document = plan.read(path, known)
    except documents.DocumentError as problem:
        raise errors.BadInput(str(problem)) from None
    # A profile that is asked for by name is run, also where the plan would leave it out.
    every = [*OPTIONS, *(name for name in profiles if name not in OPTIONS)]
    cells = plan.expand(document.value, every, seed, only_profiles=profiles, only_scenarios=scenarios)
    if not cells:
        raise errors.BadInput(f"nothing to run: {path} has no cell for that --profile and --scenario")
    return cells


def _watcher(quiet: bool) -> Watcher:
    if quiet:
        return Quiet()
    return Bars() if sys.stderr.isatty() else Plain()


def _show(result: RunResult, directory: Path, as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps({"directory": str(directory), **result.model_dump(mode="json")}, indent=1))
    else:
        typer.echo(summary.text(result))
        typer.echo(f"\nresult: {directory / store.RESULT}\nreport: {directory / 'report.html'}")
    broken = [cell.id for cell in result.cells if cell.status == "failed"]
    if broken:
        raise errors.CheckFailed(f"{len(broken)} of {len(result.cells)} cells failed: {', '.join(broken)}")


def _interrupt(signum: int, frame: FrameType | None) -> NoReturn:
    raise KeyboardInterrupt


def main() -> None:
    """Entry point: one clear message and an exit code instead of a traceback."""
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        app()
    except errors.BenchError as problem:
        _end(str(problem), problem.exit_code)
    except KeyboardInterrupt:
        _end("interrupted", 130)
    except OSError as problem:
        if store.is_full(problem):
            _end("no space left on the disk; free some, or name another place with --out", 2)
        if os.environ.get("BROKERBENCH_DEBUG"):
            raise
        _end(f"{problem} (BROKERBENCH_DEBUG=1 shows where)", 2)


def _end(message: str, code: int) -> NoReturn:
    print(f"brokerbench: {message}", file=sys.stderr)
    sys.exit(code)
