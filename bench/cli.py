"""The command line. Exit codes: 0 fine; 1 a verdict is refuted, a cell failed or a check does not hold; 2 bad input;
3 engine not available; 130 interrupted (what was measured is kept).

Each command imports its modules when it runs, so that help and refusals answer at once.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from brokerbench.bench import errors
from brokerbench.bench.commands import selection
from brokerbench.bench.commands.failing import Failing
from brokerbench.bench.engines.base import EngineChoice

if TYPE_CHECKING:
    from brokerbench.bench.conformance import Result
    from brokerbench.scenarios.results import RunResult

app = typer.Typer(
    name="brokerbench",
    help="Measure what message brokers really do, and write the decision record from the evidence.",
    epilog="Exit codes: 0 fine, 1 a verdict is refuted, a cell failed or a check does not hold, 2 bad input, "
    "3 engine not available, 130 interrupted.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

Profiles = Annotated[list[str] | None, typer.Option("--profile", help="Only these profiles (repeatable).")]
Scenarios = Annotated[list[str] | None, typer.Option("--scenario", help="Only these scenarios (repeatable).")]
Engine = Annotated[EngineChoice, typer.Option(help="How brokers are provided.")]
Out = Annotated[Path | None, typer.Option("--out", help="Directory of the run; new or empty. Default: runs/<id>.")]
Seed = Annotated[int | None, typer.Option(help="The same seed gives the same operations.", min=0, max=2**31 - 1)]
Scheduler = Annotated[
    str, typer.Option(help="dask scheduler (tcp://host:port) that places load processes on its workers' hosts.")
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON for a program to read.")]
Quietly = Annotated[bool, typer.Option("--quiet", "-q", help="No progress.")]
Docs = Annotated[Path, typer.Option("--docs", help="Directory of decision-record.md and its evidence.")]
OmbJson = Annotated[
    Path | None, typer.Option("--omb-json", help="Write results as the OpenMessaging Benchmark's charts read them.")
]
FailOn = Annotated[
    Failing,
    typer.Option(help="Exit with 1 on the named outcome or a worse one: a cell failed, a verdict is refuted or open."),
]
Run = Annotated[Path, typer.Argument(help="A run's directory, or its result.json.", metavar="RUN")]


@app.command()
def run(
    plan: Annotated[
        str | None, typer.Argument(metavar="[PLAN]", help="A plan file, or the name of one that ships. Default: quick.")
    ] = None,
    plan_option: Annotated[str | None, typer.Option("--plan", help="The same as PLAN.")] = None,
    profile: Profiles = None,
    scenario: Scenarios = None,
    engine: Engine = EngineChoice.AUTO,
    out: Out = None,
    seed: Seed = None,
    scheduler: Scheduler = "",
    quiet: Quietly = False,
    as_json: Json = False,
    omb: Annotated[
        Path | None, typer.Option("--omb", help="Instead of a plan: a workload file of the OpenMessaging Benchmark.")
    ] = None,
    omb_driver: Annotated[Path | None, typer.Option("--omb-driver", help="Its driver file.")] = None,
    omb_duration: Annotated[
        str | None, typer.Option("--omb-duration", help="Instead of the workload's own duration, such as '2 s'.")
    ] = None,
    omb_json: OmbJson = None,
    fail_on: FailOn = Failing.REFUTED,
) -> None:
    """Run a plan, or the part of it that --profile and --scenario name."""
    if plan is not None and plan_option is not None:
        raise errors.BadInput(f"two plans, {plan} and --plan {plan_option}: a run is of one")
    chosen = selection.Chosen(plan or plan_option, profile or [], scenario or [], omb, omb_driver, omb_duration)
    result, directory = _measure(chosen, engine, out, seed, quiet or as_json, scheduler)
    if omb_json:
        _write_omb(result, directory, omb_json, quiet or as_json)
    _show(result, directory, as_json, fail_on)


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
        from brokerbench.brokers import registry
        from brokerbench.reports import record

        problems = record.check_record(docs, registry.options())
        if problems:
            raise errors.CheckFailed("the decision record does not follow from its run: " + "; ".join(problems))
        typer.echo("the decision record follows from its run")
        return
    from brokerbench.bench import store
    from brokerbench.bench.commands import measure

    if run_directory is not None:
        result, directory = store.load(run_directory), store.directory_of(run_directory)
    measure.check_docs(docs)
    if run_directory is None:
        result, directory = _measure(selection.Chosen(), engine, out, seed, quiet)
    for path in measure.write_record(result, docs):
        typer.echo(f"wrote {path}")
    # A refuted verdict is what a record is for.
    _show(result, directory, as_json=False, fail_on=Failing.FAILED)


@app.command()
def report(
    run_directory: Run,
    html_path: Annotated[Path | None, typer.Option("--html", help="Where to write it.")] = None,
    omb_json: OmbJson = None,
) -> None:
    """Write the HTML report of a run (again)."""
    from brokerbench.bench import store
    from brokerbench.bench.commands import measure

    result = store.load(run_directory)
    if omb_json:
        _write_omb(result, store.directory_of(run_directory), omb_json, quiet=False)
    path = html_path or store.directory_of(run_directory) / measure.REPORT
    typer.echo(f"wrote {measure.write_report(result, path, '--html')}")


@app.command()
def analyse(run_directory: Run, as_json: Json = False, fail_on: FailOn = Failing.REFUTED) -> None:
    """Judge a saved run again from its histories, without any broker."""
    from brokerbench.bench import store
    from brokerbench.bench.run.analyse import analyse as judge_again

    directory = store.directory_of(run_directory)
    _show(judge_again(directory, _say), directory, as_json, fail_on)


@app.command()
def compare(
    base: Annotated[Path, typer.Argument(metavar="BASE", help="A run or pytest-benchmark JSON; a directory of them.")],
    head: Annotated[Path, typer.Argument(metavar="HEAD", help="The same of the build to judge.")],
    minimum_effect: Annotated[str, typer.Option(help="A smaller change of a speed is none.")] = "5 %",
    noise: Annotated[
        Path | None, typer.Option(help="Repeats of one build: how much equal things differ on this machine.")
    ] = None,
    markdown: Annotated[Path | None, typer.Option(help="Write Markdown for a pull request.")] = None,
    junit: Annotated[Path | None, typer.Option(help="Write JUnit XML.")] = None,
    as_json: Json = False,
) -> None:
    """Is HEAD worse than BASE: verdicts, failures, speeds? Exit code 1 where it is, 2 where they cannot be compared."""
    from brokerbench.bench.commands import compare as comparing
    from brokerbench.reports import compare as rendering

    found = comparing.compare(base, head, minimum_effect, noise)
    written = comparing.write(found, markdown, junit)
    typer.echo(json.dumps(rendering.document(found), indent=1) if as_json else rendering.text(found))
    if not as_json:
        for path in written:
            typer.echo(f"wrote {path}")
    if worse := rendering.regressions(found):
        raise errors.CheckFailed(f"worse than base: {len(worse)}, first {'; '.join(worse[:5])}")


@app.command("list")
def list_everything(as_json: Json = False) -> None:
    """Profiles, scenarios with their parameters, engines with versions and settings, plans, properties."""
    from brokerbench.bench.commands import listing

    content = listing.everything(selection.PLANS)
    typer.echo(json.dumps(content, indent=1) if as_json else listing.text(content))


@app.command()
def verify(
    profile: Annotated[str, typer.Argument(metavar="PROFILE", help="The adapter to verify.")],
    engine: Engine = EngineChoice.AUTO,
    quiet: Quietly = False,
    as_json: Json = False,
) -> None:
    """Hold one adapter against the conformance kit, by its own declaration, on a running broker."""
    from brokerbench.bench.commands import verify as verification

    def say(result: Result) -> None:
        if not (quiet or as_json):
            typer.echo(f"{result.status} {result.name}", err=True)

    results = verification.verify(profile, engine, say)
    typer.echo(
        json.dumps(verification.as_json(profile, results), indent=1) if as_json else verification.text(profile, results)
    )
    if broken := verification.failed(results):
        raise errors.CheckFailed(f"{len(broken)} of {len(results)} checks failed: {', '.join(broken)}")


@app.command()
def calibrate(
    profile: Annotated[str, typer.Option("--profile", help="noop, kafka, kafka-share, redis-streams or sqs-standard.")],
    engine: Engine = EngineChoice.AUTO,
    repeats: Annotated[int, typer.Option(help="Windows of each side that count.", min=3)] = 3,
    seconds: Annotated[float, typer.Option(help="Length of a window.")] = 3.0,
    warmup: Annotated[float, typer.Option(help="Before each window, in seconds.")] = 1.5,
    quiet: Quietly = False,
    as_json: Json = False,
) -> None:
    """Compare the load engine with what one would otherwise use, in turns on one engine."""
    from brokerbench.bench.calibration import calibrate as calibration

    def say(line: str) -> None:
        if not quiet:
            typer.echo(line, err=True)

    found = calibration.calibrate(calibration.CalibrationRequest(profile, engine, repeats, seconds, warmup), say)
    typer.echo(json.dumps(calibration.as_json(found), indent=1) if as_json else calibration.text(found))
    if found.failures:
        raise errors.CheckFailed(f"peers failed, the rest is as measured: {'; '.join(found.failures)}")


@app.command()
def selftest(
    messages: Annotated[int, typer.Option(help="One of so many messages is hit.", min=1000)] = 1_000_000,
    histories: Annotated[int, typer.Option(help="So many clean histories are judged.", min=0)] = 1000,
    page: Annotated[Path | None, typer.Option(help="Also write the matrix to this Markdown file.")] = None,
    quiet: Quietly = False,
    as_json: Json = False,
) -> None:
    """Seed every fault into the reference broker: does its checker see it, and do the others stay silent?"""
    if page is not None and not os.access(page.absolute().parent, os.W_OK):
        raise errors.BadInput(f"--page {page}: cannot be written there")
    from brokerbench.bench.run import progress
    from brokerbench.bench.selftest import run as trial

    with progress.one_bar(quiet or as_json) as tell:
        outcome = trial.run(messages, histories, tell)
    if page is not None:
        from brokerbench.bench import store
        from brokerbench.bench.selftest.page import markdown

        store.write_text(page, markdown(outcome))
    typer.echo(json.dumps(trial.as_json(outcome), indent=1) if as_json else trial.text(outcome))
    if outcome.problems:
        raise errors.CheckFailed(f"the self-test fails: {'; '.join(outcome.problems)}")


@app.command()
def doctor(as_json: Json = False) -> None:
    """What this machine can run, what is missing, and the command that mends it."""
    from dataclasses import asdict

    from brokerbench.bench.commands import doctor as diagnosis

    checks = diagnosis.examine()
    typer.echo(json.dumps([asdict(check) for check in checks], indent=1) if as_json else diagnosis.text(checks))
    if any(check.required and not check.ok for check in checks):
        raise typer.Exit(errors.EngineUnavailable.exit_code)


def _measure(
    chosen: selection.Chosen, engine: EngineChoice, out: Path | None, seed: int | None, quiet: bool, scheduler: str = ""
) -> tuple[RunResult, Path]:
    chosen_seed = selection.choose_seed(seed)
    work = selection.work(chosen, chosen_seed)
    for notice in work.notices:
        _say(notice)

    from brokerbench.bench.commands import fit, measure

    for notice in fit.check(work.cells, elsewhere=bool(scheduler)):
        _say(notice)
    return measure.measure(work, engine, out, chosen_seed, quiet, scheduler)


def _write_omb(result: RunResult, directory: Path, path: Path, quiet: bool) -> None:
    from brokerbench.bench.commands import omb

    for written in omb.write(result, directory, path, "--omb-json"):
        if not quiet:
            typer.echo(f"wrote {written}")


def _show(result: RunResult, directory: Path, as_json: bool, fail_on: Failing) -> None:
    from brokerbench.bench import store
    from brokerbench.bench.commands import failing, measure
    from brokerbench.reports import tables

    if as_json:
        typer.echo(json.dumps({"directory": str(directory), **result.model_dump(mode="json")}, indent=1))
    else:
        typer.echo(tables.text(result))
        typer.echo(f"\nresult: {directory / store.RESULT}")
        if (directory / measure.REPORT).exists():
            typer.echo(f"report: {directory / measure.REPORT}")
    if problems := failing.problems(result, fail_on):
        raise errors.CheckFailed("; ".join(problems))


def _interrupt(signum: int, frame: FrameType | None) -> NoReturn:
    """The first signal stops in order; the second at once, and the guard removes what is left."""
    for sig in (signal.SIGINT, signal.SIGTERM):
        signal.signal(sig, lambda *_: os._exit(errors.Interrupted.exit_code))
    raise errors.Interrupted("interrupted")


def main() -> None:
    """Entry point: one clear message and an exit code instead of a traceback."""
    for sig in (signal.SIGINT, signal.SIGTERM):
        signal.signal(sig, _interrupt)
    try:
        app()
    except errors.Interrupted as stop:
        _say(str(stop))
        # Not sys.exit: it would wait for threads that still wait for an engine.
        os._exit(stop.exit_code)
    except Exception as problem:  # the user gets a sentence, whatever the error
        if os.environ.get("BROKERBENCH_DEBUG"):
            raise
        if isinstance(problem, errors.BenchError):
            _say(str(problem))
            sys.exit(problem.exit_code)
        if isinstance(problem, OSError):
            _say(f"{problem} (BROKERBENCH_DEBUG=1 shows where)")
            sys.exit(errors.BadInput.exit_code)
        _say(f"unexpected {type(problem).__name__}: {problem} (BROKERBENCH_DEBUG=1 shows where)")
        sys.exit(errors.BenchError.exit_code)


def _say(message: str) -> None:
    sys.stdout.flush()
    print(f"brokerbench: {message}", file=sys.stderr, flush=True)
