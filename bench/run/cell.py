"""One cell in a process of its own: run the experiment, read its history back, judge, write ``cell.json``.

A client library that crashes ends only its cell. The job is one JSON line on standard input (it may hold secrets,
which must not stand in a command line or an environment); events go to standard output, one JSON line each. The runner
holds the process as a ``CellProcess``, which follows the events and kills it when it is late.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Callable, Mapping
from contextlib import closing, nullcontext, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from pydantic import TypeAdapter

from brokerbench.bench import children, seal, store
from brokerbench.bench.engines.base import tail
from brokerbench.bench.guard import Guard
from brokerbench.bench.load.processes import Processes, lives_in_process
from brokerbench.bench.run import hlog, meters
from brokerbench.brokers import registry
from brokerbench.brokers.errors import BrokerError
from brokerbench.brokers.protocols import Broker
from brokerbench.brokers.types import Endpoint
from brokerbench.reports import words
from brokerbench.scenarios import experiments
from brokerbench.scenarios.base import Context, LoadFailed, MachineUsage
from brokerbench.scenarios.history import saved_history
from brokerbench.scenarios.load import usage
from brokerbench.scenarios.metrics import doubts, send_fates
from brokerbench.scenarios.results import Cell, metric_rows, sends_row, verdict_rows
from brokerbench.scenarios.verdicts import Grade

if TYPE_CHECKING:
    from brokerbench.bench.load.hosts import Hosts


@dataclass(frozen=True, slots=True)
class CellJob:
    """The work of one cell process. ``directory`` is the cell's own; ``stamp`` marks its messages."""

    id: str
    profile: str
    scenario: str
    parameters: Mapping[str, Any]
    seed: int
    stamp: int
    engine: str
    grade: Grade
    endpoint: Endpoint
    channel_prefix: str
    directory: Path
    engine_pid: int | None = None
    """A process of the broker on this host, whose usage is recorded."""
    scheduler: str = ""
    """Address of a dask scheduler that places the load processes; empty: they run on this host."""
    examine_when_told: bool = False
    """After the experiment, wait for a line on standard input: examining would disturb another cell's speed."""

    def to_json(self) -> str:
        return _JOB.dump_json(self).decode()

    @staticmethod
    def from_json(text: str) -> CellJob:
        return _JOB.validate_json(text)


_JOB = TypeAdapter(CellJob)


def execute(job: CellJob, events: TextIO) -> Cell:
    """Run, examine and judge one cell. Errors of experiment, broker and disk are in the result, not raised."""
    started, begin = datetime.now(UTC), time.monotonic()
    waited_s, error = 0.0, ""
    try:
        _run(job, events)
        seal.write(job.directory)
        if job.examine_when_told:
            say(events, progress=1.0, doing="waiting to be examined")
            say(events, ran=True)
            ran = time.monotonic()
            sys.stdin.readline()
            waited_s = time.monotonic() - ran
        say(events, progress=1.0, doing="examining the history")
        cell = examine(_cell(job, started), job.directory)
    except Exception as problem:  # the cell has failed, and the run goes on
        error = describe(problem) + seal.judging_hint(job.directory)
        _log_traceback(job)
        cell = failed(job, started, error)
    cell = cell.model_copy(update={"duration_s": round(time.monotonic() - begin - waited_s, 3)})
    try:
        store.save_cell(job.directory.parent.parent, cell)
    except OSError as problem:  # the event still reports the failure
        return failed(job, started, error or describe(problem))
    return cell


def _run(job: CellJob, events: TextIO) -> None:
    scenario = experiments.scenario(job.scenario)
    scenario.check(job.parameters)  # not every job is from a plan
    with closing(registry.connect(job.profile, job.endpoint)) as broker, _load(job) as load:
        declaration = broker.declaration()
        store.save_declaration(job.directory, declaration)
        context = Context(
            profile=job.profile,
            parameters=job.parameters,
            seed=job.seed,
            run=job.stamp,
            broker=broker,
            declaration=declaration,
            endpoint=job.endpoint,
            connect=lambda: registry.connect(job.profile, job.endpoint),
            channel_prefix=job.channel_prefix,
            history_directory=job.directory / "history",
            load=load,
            progress=lambda share, doing: say(events, progress=share, doing=doing),
            engine_use=(lambda: None) if job.engine_pid is None else meters.BrokerMeter(job.engine_pid),
            machine_use=_machine_meter(job),
        )
        try:
            # Windows look at the machine themselves.
            with nullcontext() if scenario.alone else usage.watched(context):
                scenario.run(context)
            say(events, progress=1.0, doing="gathering the history")
            load.gather(job.directory / "gathered")
        finally:
            load.close()
            remove_channels(broker, job.channel_prefix)


def _machine_meter(job: CellJob) -> Callable[[], MachineUsage | None]:
    # Load processes that dask places may be on this machine and are not known.
    ours = (
        meters.ours(os.getppid(), job.engine_pid, job.endpoint.address, in_process=lives_in_process(job.profile))
        if not job.scheduler
        else None
    )
    return meters.MachineMeter(ours)


def _load(job: CellJob) -> Processes | Hosts:
    if not job.scheduler or lives_in_process(job.profile):
        return Processes()
    from brokerbench.bench.load.hosts import Hosts  # a second of imports, only where it is wanted

    return Hosts(job.scheduler)


def remove_channels(broker: Broker, prefix: str) -> None:
    """Delete every channel whose name starts with ``prefix``, and no other."""
    for name in broker.list_channels(prefix):
        broker.delete_channel(name)


def examine(cell: Cell, directory: Path) -> Cell:
    """The cell judged from its files: for a fresh run and for ``analyse``."""
    scenario = experiments.scenario(cell.scenario)
    loaded = saved_history.load(directory / "history")
    examination = scenario.examine(loaded)
    if any(loaded.events("paced")):  # an open loop
        hlog.write(directory, loaded)
    declaration = store.load_declaration(directory)
    disturbed = doubts.disturbance(loaded)
    watched = list(doubts.metrics(loaded.events("machine"), {}))
    sends = send_fates.of_history(loaded)
    told = {str(mark["what"]): str(mark["why"]) for mark in loaded.events("left_out")}
    common: dict[str, Any] = {"sends": sends_row(sends), "left_out": {**told, **examination.left_out}, "unjudged": ""}
    if sends.sent and not sends.acknowledged:
        why = f"no send was acknowledged: {words.not_acknowledged(common['sends'])}"
        return cell.model_copy(update={**common, "status": "failed", "error": why, "verdicts": [], "metrics": []})
    return cell.model_copy(
        update={
            **common,
            "status": "completed",
            "error": "",
            "disturbed": disturbed,
            "verdicts": verdict_rows(
                declaration, examination, scenario.properties, cell.grade, cell.history, disturbed
            ),
            "metrics": metric_rows([*examination.metrics, *watched], cell.grade),
        }
    )


def failed(job: CellJob, started: datetime, error: str) -> Cell:
    return _cell(job, started).model_copy(update={"status": "failed", "error": error})


def _cell(job: CellJob, started: datetime) -> Cell:
    return Cell(
        id=job.id,
        profile=job.profile,
        scenario=job.scenario,
        parameters=dict(job.parameters),
        seed=job.seed,
        engine=job.engine,
        grade=job.grade,
        status="completed",
        started=started.isoformat(timespec="seconds"),
        duration_s=0.0,
        history=f"cells/{job.id}/history",
        verdicts=[],
        metrics=[],
    )


def describe(problem: BaseException) -> str:
    """One sentence for a report."""
    if store.is_full(problem):
        return "no space left on the disk for the history; free some, or name another place with --out"
    if isinstance(problem, (BrokerError, LoadFailed)):
        return str(problem)
    return f"{type(problem).__name__}: {problem}"


def _log_traceback(job: CellJob) -> None:
    try:
        (job.directory / "error.txt").write_text(traceback.format_exc(), encoding="utf-8")
    except OSError:
        traceback.print_exc()  # a full disk; standard error goes to the run's log


def say(events: TextIO, **event: Any) -> None:
    events.write(json.dumps(event) + "\n")
    events.flush()


def main() -> int:
    children.require_same_code()
    # Output of libraries must not mix with the events, which keep the real standard output.
    events = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    job = CellJob.from_json(sys.stdin.readline())
    cell = execute(job, events)
    say(events, status=cell.status, error=cell.error)
    return 0


if __name__ == "__main__":
    sys.exit(main())


class CellProcess:
    """One running cell."""

    def __init__(self, process: subprocess.Popen[str], log: Path, kill_group: Callable[[], None]) -> None:
        self._process, self._log, self.kill = process, log, kill_group
        self._late = False

    @staticmethod
    def start(job: CellJob, guard: Guard, logs: Path) -> CellProcess:
        """The job goes through standard input: endpoints may carry secrets."""
        log = logs / f"{job.id}.log"
        process = guard.spawn_piped(children.command("bench.run.cell"), log_path=log)
        running = CellProcess(process, log, lambda: guard.kill(process))
        running._tell(job.to_json())
        return running

    def follow(self, moved: Callable[[float, str], None], ran: Callable[[], None], timeout_s: float) -> str:
        """Pass progress on until the process ends. Returns the error, else "".

        ``ran`` is called when the experiment is over; the history is examined when it returns. Each of the two may take
        ``timeout_s``.
        """
        timer = self._timer(timeout_s)
        ended: dict[str, str] | None = None
        try:
            assert self._process.stdout is not None
            for line in self._process.stdout:
                event = json.loads(line)
                if "progress" in event:
                    moved(event["progress"], event["doing"])
                elif "ran" in event:
                    # Other cells may measure for long before this one is examined.
                    timer.cancel()
                    ran()
                    timer = self._timer(timeout_s)
                    self._tell("")
                else:
                    ended = event
            code = self._process.wait()
        finally:
            timer.cancel()
        if ended is not None:
            return ended["error"]
        if self._late:
            return f"the cell took longer than {timeout_s:g} s and was stopped"
        return f"the cell's process ended with code {code} ({tail(self._log, lines=3)})"

    def _tell(self, line: str) -> None:
        """The job; later, an empty line lets the process examine its experiment."""
        assert self._process.stdin is not None
        with suppress(BrokenPipeError):  # it has ended: ``follow`` reports why
            self._process.stdin.write(f"{line}\n")
            self._process.stdin.flush()

    def _timer(self, timeout_s: float) -> threading.Timer:
        timer = threading.Timer(timeout_s, self._too_late)
        timer.daemon = True
        timer.start()
        return timer

    def _too_late(self) -> None:
        self._late = True
        self.kill()
