"""Runs a plan: engines up, readiness proven, cells side by side or alone, each result saved at once.

Cells that measure speed take turns; they are examined when all have measured.
"""

from __future__ import annotations

import os
import threading
import zlib
from collections.abc import Collection, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from brokerbench.bench import environment, seal, store
from brokerbench.bench.engines.base import EngineChoice, OnThisHost, RunningEngine
from brokerbench.bench.run.cell import CellJob, CellProcess, failed
from brokerbench.bench.run.progress import Expected, Watcher
from brokerbench.bench.run.session import Session, Site, open_session
from brokerbench.brokers import registry
from brokerbench.scenarios import experiments, results
from brokerbench.scenarios.plans.plan import CellPlan
from brokerbench.scenarios.results import Cell, RunResult
from brokerbench.scenarios.verdicts import Grade


class Turns:
    """One cell runs at a time; when all have run, they are examined, one a core at once."""

    def __init__(self, cells: int) -> None:
        self._left = cells
        self._running = threading.Lock()
        self._counting = threading.Lock()
        self._all_ran = threading.Event()
        self._examining = threading.Semaphore(os.cpu_count() or 1)

    def next(self) -> Turn:
        """Wait for the turn to measure."""
        self._running.acquire()
        return Turn(self)

    def _ran(self) -> None:
        with self._counting:
            self._left -= 1
            if self._left == 0:
                self._all_ran.set()
        self._running.release()


class Turn:
    """One cell's turn. Always ``end`` it: a cell that fails before ``ran`` must not hold up the others."""

    def __init__(self, turns: Turns) -> None:
        self._turns = turns
        self._has_run = self._examines = False

    def ran(self) -> None:
        """The experiment is over: let the next one measure, and wait until this one may be examined."""
        self._has_run = True
        self._turns._ran()
        self._turns._all_ran.wait()
        self._turns._examining.acquire()
        self._examines = True

    def end(self) -> None:
        if not self._has_run:
            self._turns._ran()
        if self._examines:
            self._turns._examining.release()


_STAGGER_S = 0.7
SIDE_BY_SIDE = 8
"""Number of cells that run at once when they measure no speed: they mostly wait."""
_WATCH_S = 0.5


@dataclass(frozen=True, slots=True)
class RunRequest:
    """A run: its cells, how their engines are provided, where results are kept."""

    plan: str
    cells: Sequence[CellPlan]
    engine: EngineChoice
    run_id: str
    directory: Path
    seed: int
    cell_timeout_s: float = 900.0
    scheduler: str = ""
    """Address of a dask scheduler that places load processes; empty: they run here."""


class _RunProgress:
    """The result so far, saved after each cell: an interrupted run keeps what it measured."""

    def __init__(self, request: RunRequest) -> None:
        self._request = request
        self._created = datetime.now(UTC).isoformat(timespec="seconds")
        self._environment = environment.describe({cell.profile for cell in request.cells})
        self._engines: list[results.Engine] = []
        self._cells: dict[str, Cell] = {}
        self._lock = threading.Lock()

    def engines(self, engines: Sequence[results.Engine]) -> None:
        with self._lock:
            self._engines = list(engines)

    def add(self, cell: Cell) -> None:
        with self._lock:
            self._cells[cell.id] = cell
            store.save(self._request.directory, self._result())

    def finish(self) -> RunResult:
        with self._lock:
            result = self._result()
            store.save(self._request.directory, result)
            return result

    def _result(self) -> RunResult:
        planned = [cell.id for cell in self._request.cells]
        return RunResult(
            run_id=self._request.run_id,
            created=self._created,
            plan=self._request.plan,
            seed=self._request.seed,
            complete=len(self._cells) == len(planned),
            environment=self._environment,
            engines=self._engines,
            cells=[self._cells[cell_id] for cell_id in planned if cell_id in self._cells],
        )


def run(request: RunRequest, watcher: Watcher) -> RunResult:
    """Run every cell. Raises EngineUnavailable when an engine does not come up; a failed cell raises nothing.

    On an interrupt, and on a full disk, everything is stopped, what was measured is saved as incomplete, and the
    exception goes on to the caller.
    """
    progress = _RunProgress(request)
    with open_session(request.engine, request.run_id, request.directory / store.LOGS) as session:
        sites = _prove_ready(session, dict.fromkeys(cell.profile for cell in request.cells), watcher)
        engines = {site.engine.name: site.engine for site in sites.values()}
        for engine in engines.values():
            watcher.say(f"{engine.name}: {engine.version} ({engine.kind}, grade {engine.grade.value}) is ready")
        progress.engines(list(engines.values()))
        watcher.planned(
            [
                Expected(cell.id, expected_s(cell), runs_alone(cell, sites[cell.profile].engine.grade))
                for cell in request.cells
            ]
        )
        scheduler = _CellScheduler(request, session, sites, progress, watcher)
        try:
            scheduler.work()
        finally:
            scheduler.stop()
    return progress.finish()


def _prove_ready(session: Session, profiles: Collection[str], watcher: Watcher) -> Mapping[str, Site]:
    """Start the engines, then send a message through every profile, both side by side."""
    brokers = sorted({broker for profile in profiles if (broker := registry.adapter(profile).broker)})
    if brokers:
        watcher.say(f"starting {', '.join(brokers)}")
        session.start(brokers)
    pool = ThreadPoolExecutor(max_workers=max(1, len(profiles)))
    proofs = {profile: pool.submit(session.ready, profile) for profile in profiles}
    try:
        return {profile: proof.result() for profile, proof in proofs.items()}
    finally:
        pool.shutdown(wait=False)  # an interrupt must not wait until the other proofs have given up


class _CellScheduler:
    """Runs the cells: those that mostly wait side by side, then those that measure speed one by one."""

    def __init__(
        self, request: RunRequest, session: Session, sites: Mapping[str, Site], progress: _RunProgress, watcher: Watcher
    ) -> None:
        self._request, self._session, self._sites = request, session, sites
        self._progress, self._watcher = progress, watcher
        self._stopped = threading.Event()
        self._processes: dict[CellProcess, RunningEngine | None] = {}
        self._lock = threading.Lock()
        threading.Thread(target=self._watch_engines, name="engines-watch", daemon=True).start()

    def work(self) -> None:
        cells = self._request.cells
        alone = [cell for cell in cells if runs_alone(cell, self._sites[cell.profile].engine.grade)]
        # The longest first: the end of the run should not wait for one straggler.
        together = sorted((cell for cell in cells if cell not in alone), key=expected_s, reverse=True)
        # Processes that start together hold each other up; the longest should lose nothing.
        self._run_all(together, SIDE_BY_SIDE, stagger_s=_STAGGER_S)
        self._run_all(alone, max(1, len(alone)), turns=Turns(len(alone)))

    def _run_all(
        self, cells: Sequence[CellPlan], at_once: int, stagger_s: float = 0.0, turns: Turns | None = None
    ) -> None:
        """Raises the first exception of a cell's thread, after everything has been stopped."""
        with ThreadPoolExecutor(max_workers=at_once) as pool:
            running: list[Future[None]] = []
            try:
                for cell in cells:
                    running.append(pool.submit(self._one, cell, turns))
                    self._stopped.wait(stagger_s)
                for future in running:
                    future.result()
            except BaseException:
                self.stop()
                raise

    def stop(self) -> None:
        """Kill what runs and start nothing more. Idempotent."""
        with self._lock:
            self._stopped.set()
            for process in self._processes:
                process.kill()

    def _watch_engines(self) -> None:
        """End the cells of a broker that is gone: a client may wait for it for long."""
        while not self._stopped.wait(_WATCH_S):
            with self._lock:
                running = dict(self._processes)
            for process, engine in running.items():
                if engine is not None and not engine.alive():
                    process.kill()

    def _one(self, cell: CellPlan, turns: Turns | None = None) -> None:
        turn = turns.next() if turns else None
        try:
            if self._stopped.is_set():
                return
            self._watcher.began(cell.id)
            done = self._execute(cell, turn)
        finally:
            if turn:
                turn.end()
        # What was measured in full is kept, also when there was no time to judge it.
        if not self._stopped.is_set() or seal.exists(store.cell_directory(self._request.directory, cell.id)):
            self._progress.add(done)
            self._watcher.ended(done)

    def _execute(self, cell: CellPlan, turn: Turn | None) -> Cell:
        job = replace(self._job(cell), examine_when_told=turn is not None)
        started = datetime.now(UTC)
        running = self._sites[cell.profile].running
        if running is not None and not running.alive():
            return self._lost_engine(job, started, running)
        job.directory.mkdir(parents=True, exist_ok=True)
        process = CellProcess.start(job, self._session.guard, self._request.directory / store.LOGS)
        with self._lock:
            self._processes[process] = running
            if self._stopped.is_set():
                process.kill()
        try:
            problem = process.follow(
                lambda share, doing: self._watcher.moved(cell.id, share, doing),
                turn.ran if turn else lambda: None,
                self._request.cell_timeout_s,
            )
        finally:
            with self._lock:
                del self._processes[process]
        if running is not None and not running.alive():
            return self._lost_engine(job, started, running)
        try:
            return store.load_cell(self._request.directory, cell.id)
        except (OSError, ValueError) as unread:
            why = "the run was stopped" if self._stopped.is_set() else problem
            return _unjudged(job, started, why or f"its cell.json cannot be read: {unread}")

    def _lost_engine(self, job: CellJob, started: datetime, running: RunningEngine) -> Cell:
        log = self._request.directory / store.LOGS / f"{running.spec.name}.log"
        where = f"{log} ends: " if log.exists() else ""
        return _unjudged(job, started, f"the engine {running.spec.name} is gone; {where}{running.log_tail()}")

    def _job(self, cell: CellPlan) -> CellJob:
        site, request = self._sites[cell.profile], self._request
        number = [planned.id for planned in request.cells].index(cell.id)
        return CellJob(
            id=cell.id,
            profile=cell.profile,
            scenario=cell.scenario,
            parameters=cell.parameters,
            seed=cell.seed,
            stamp=zlib.crc32(f"{request.run_id}/{cell.id}".encode()),
            engine=site.engine.name,
            grade=site.engine.grade,
            endpoint=site.endpoint,
            channel_prefix=f"{self._session.prefix}c{number:02d}-",
            directory=store.cell_directory(request.directory, cell.id),
            engine_pid=site.running.pid() if isinstance(site.running, OnThisHost) else None,
            scheduler=request.scheduler,
        )


def _unjudged(job: CellJob, started: datetime, why: str) -> Cell:
    """The result of a cell whose process reported none."""
    cell = failed(job, started, why + seal.judging_hint(job.directory))
    return cell.model_copy(update={"duration_s": round((datetime.now(UTC) - started).total_seconds(), 3)})


def runs_alone(cell: CellPlan, grade: Grade) -> bool:
    """Speed is measured alone; an emulator's, which ranks nothing, fills the time in which others wait."""
    return grade is not Grade.EMULATOR and experiments.scenario(cell.scenario).alone


def expected_s(cell: CellPlan) -> float:
    """A rough length, for the bar and for starting the longest first. Judges nothing."""
    declaration = registry.declared(cell.profile)
    limits = declaration.limits if declaration else None
    return experiments.scenario(cell.scenario).expected_s(cell.parameters, limits)
