"""Runs a plan: engines up, readiness proven, cells side by side or alone, results kept as they come.

This is the one place where engines and adapters meet.
"""

from __future__ import annotations

import threading
import zlib
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from brokerbench.bench import environment, store
from brokerbench.bench.engines.base import EngineChoice, OnThisHost, RunningEngine
from brokerbench.bench.engines.start import channel_prefix, start_engines
from brokerbench.bench.errors import EngineUnavailable
from brokerbench.bench.guard import Guard
from brokerbench.bench.run import readiness
from brokerbench.bench.run.cell import CellJob, failed
from brokerbench.bench.run.cell_process import CellProcess
from brokerbench.bench.run.progress import Expected, Watcher
from brokerbench.bench.run.turns import Turn, Turns
from brokerbench.brokers import registry
from brokerbench.brokers.types import Endpoint
from brokerbench.scenarios import catalogue, results
from brokerbench.scenarios.plans.plan import CellPlan
from brokerbench.scenarios.results import Cell, RunResult
from brokerbench.scenarios.verdicts import Grade

_STAGGER_S = 0.7
SIDE_BY_SIDE = 8
"""Cells that run at once when they measure no speed: most of their time they wait."""
_WATCH_S = 0.5


@dataclass(frozen=True, slots=True)
class Request:
    """What to run, on what, and where to keep it."""

    plan: str
    cells: Sequence[CellPlan]
    engine: EngineChoice
    run_id: str
    directory: Path
    seed: int
    cell_timeout_s: float = 900.0
    scheduler: str = ""
    """Address of a dask scheduler that places load processes; empty: they run here."""


@dataclass(frozen=True, slots=True)
class _Target:
    """Where a profile's cells go: an engine's endpoint, and what its evidence is worth."""

    engine: str
    endpoint: Endpoint
    grade: Grade
    running: RunningEngine | None


class _RunProgress:
    """The result so far, on disk after each cell: what was measured stays, whatever comes."""

    def __init__(self, request: Request) -> None:
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


def run(request: Request, watcher: Watcher) -> RunResult:
    """Run every cell. Raises EngineUnavailable when an engine does not come up; a failed cell raises nothing.

    On an interrupt, and on a full disk, everything is stopped, what was measured is saved as incomplete, and the
    exception goes on to the caller.
    """
    ledger = _RunProgress(request)
    with ExitStack() as stack:
        guard = stack.enter_context(Guard.start(request.run_id))
        running = _start_engines(request, guard, watcher, stack)
        targets = _targets(request.cells, running)
        ledger.engines(_prove_ready(request, targets, watcher))
        watcher.planned(
            [
                Expected(cell.id, expected_s(cell), runs_alone(cell, targets[cell.profile].grade))
                for cell in request.cells
            ]
        )
        crew = _CellScheduler(request, guard, targets, ledger, watcher)
        try:
            crew.work()
        finally:
            crew.stop()
    return ledger.finish()


def _start_engines(request: Request, guard: Guard, watcher: Watcher, stack: ExitStack) -> Mapping[str, RunningEngine]:
    needed = sorted({broker for cell in request.cells if (broker := registry.adapter(cell.profile).broker)})
    if not needed:
        return {}
    watcher.say(f"starting {', '.join(needed)}")
    engines = start_engines(needed, request.engine, request.directory / store.LOGS, guard)
    for engine in engines.values():
        stack.callback(engine.stop)
    return engines


def _targets(cells: Sequence[CellPlan], running: Mapping[str, RunningEngine]) -> Mapping[str, _Target]:
    targets: dict[str, _Target] = {}
    for cell in cells:
        broker = registry.adapter(cell.profile).broker
        if broker is None:
            endpoint = Endpoint(cell.profile, f"{cell.profile}://run")
            targets[cell.profile] = _Target(cell.profile, endpoint, Grade.MODEL, None)
        else:
            engine = running[broker]
            targets[cell.profile] = _Target(broker, engine.endpoint, engine.grade, engine)
    return targets


def _prove_ready(request: Request, targets: Mapping[str, _Target], watcher: Watcher) -> list[results.Engine]:
    """A message through every profile, side by side; returns the engines with the versions they answered."""
    pool = ThreadPoolExecutor(max_workers=max(1, len(targets)))
    proofs = {
        profile: pool.submit(
            readiness.prove, profile, target.endpoint, f"{channel_prefix(request.run_id)}ready-{profile}"
        )
        for profile, target in targets.items()
    }
    try:
        versions = {profile: proof.result() for profile, proof in proofs.items()}
    except readiness.NotReady as problem:
        raise EngineUnavailable(f"an engine started and does not work: {problem}") from problem
    finally:
        pool.shutdown(wait=False)  # an interrupt must not wait until the other proofs have given up
    described = {targets[profile].engine: _describe(targets[profile], version) for profile, version in versions.items()}
    for engine in described.values():
        watcher.say(f"{engine.name}: {engine.version} ({engine.kind}, grade {engine.grade.value}) is ready")
    return list(described.values())


def _describe(target: _Target, version: str) -> results.Engine:
    running = target.running
    if running is None:
        return results.Engine(
            name=target.engine,
            product=target.engine,
            version=version,
            kind="in-process",
            grade=target.grade,
            settings={},
        )
    return results.Engine(
        name=target.engine,
        product=running.spec.product,
        version=version,
        kind=running.kind.value,
        grade=target.grade,
        settings=dict(running.settings),
    )


class _CellScheduler:
    """Runs the cells: those that wait side by side, then those that measure speed one by one."""

    def __init__(
        self,
        request: Request,
        guard: Guard,
        targets: Mapping[str, _Target],
        ledger: _RunProgress,
        watcher: Watcher,
    ) -> None:
        self._request, self._guard, self._targets = request, guard, targets
        self._ledger, self._watcher = ledger, watcher
        self._stopped = threading.Event()
        self._processes: dict[CellProcess, RunningEngine | None] = {}
        self._lock = threading.Lock()
        threading.Thread(target=self._watch_engines, name="engines-watch", daemon=True).start()

    def work(self) -> None:
        cells = self._request.cells
        alone = [cell for cell in cells if runs_alone(cell, self._targets[cell.profile].grade)]
        together = [cell for cell in cells if cell not in alone]
        with ThreadPoolExecutor(max_workers=SIDE_BY_SIDE) as pool:
            # The longest first, so that nobody waits for one straggler.
            waiting: list[Future[None]] = []
            try:
                for cell in sorted(together, key=expected_s, reverse=True):
                    waiting.append(pool.submit(self._one, cell))
                    # Processes that start together hold each other up; the longest should lose nothing.
                    self._stopped.wait(_STAGGER_S)
                for future in waiting:
                    future.result()
            except BaseException:
                self.stop()
                raise
        turns = Turns(len(alone))
        with ThreadPoolExecutor(max_workers=max(1, len(alone))) as pool:
            speeds = [pool.submit(self._one, cell, turns) for cell in alone]
            try:
                for future in speeds:
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
        """A client may wait long for a broker that is gone: the cells of that broker end now."""
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
        if not self._stopped.is_set() or store.sealed(store.cell_directory(self._request.directory, cell.id)):
            self._ledger.add(done)
            self._watcher.ended(done)

    def _execute(self, cell: CellPlan, turn: Turn | None) -> Cell:
        order = replace(self._order(cell), examine_when_told=turn is not None)
        started = datetime.now(UTC)
        running = self._targets[cell.profile].running
        if running is not None and not running.alive():
            return self._lost_engine(order, started, running)
        order.directory.mkdir(parents=True, exist_ok=True)
        process = CellProcess.start(order, self._guard, self._request.directory / store.LOGS)
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
            return self._lost_engine(order, started, running)
        try:
            return store.load_cell(self._request.directory, cell.id)
        except (OSError, ValueError) as unread:
            why = "the run was stopped" if self._stopped.is_set() else problem
            return _unjudged(order, started, why or f"its cell.json cannot be read: {unread}")

    def _lost_engine(self, order: CellJob, started: datetime, running: RunningEngine) -> Cell:
        log = self._request.directory / store.LOGS / f"{running.spec.name}.log"
        where = f"{log} ends: " if log.exists() else ""
        return _unjudged(order, started, f"the engine {running.spec.name} is gone; {where}{running.log_tail()}")

    def _order(self, cell: CellPlan) -> CellJob:
        target, request = self._targets[cell.profile], self._request
        number = [planned.id for planned in request.cells].index(cell.id)
        return CellJob(
            id=cell.id,
            profile=cell.profile,
            scenario=cell.scenario,
            parameters=cell.parameters,
            seed=cell.seed,
            stamp=zlib.crc32(f"{request.run_id}/{cell.id}".encode()),
            engine=target.engine,
            grade=target.grade,
            endpoint=target.endpoint,
            channel_prefix=f"{channel_prefix(request.run_id)}c{number:02d}-",
            directory=store.cell_directory(request.directory, cell.id),
            engine_pid=target.running.pid() if isinstance(target.running, OnThisHost) else None,
            scheduler=request.scheduler,
        )


def _unjudged(order: CellJob, started: datetime, why: str) -> Cell:
    """A cell whose process did not say how it ended."""
    cell = failed(order, started, why + store.judging_hint(order.directory))
    return cell.model_copy(update={"duration_s": round((datetime.now(UTC) - started).total_seconds(), 3)})


def runs_alone(cell: CellPlan, grade: Grade) -> bool:
    """Speed is measured alone; an emulator's, which ranks nothing, fills the time in which others wait."""
    return grade is not Grade.EMULATOR and catalogue.scenario(cell.scenario).alone


def expected_s(cell: CellPlan) -> float:
    """A rough length, for the bar and for starting the longest first. Judges nothing."""
    declaration = registry.declared(cell.profile)
    limits = declaration.limits if declaration else None
    return catalogue.scenario(cell.scenario).expected_s(cell.parameters, limits)
