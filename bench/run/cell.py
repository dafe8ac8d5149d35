"""One cell in a process of its own: run the experiment, read its history back, judge, write ``cell.json``.

A client library that crashes takes only its cell along. The order comes as one JSON line on standard
input (it may hold secrets, which must not stand in a command line or an environment); events go
to standard output, one JSON line each.
"""

from __future__ import annotations

import json
import os
import sys
import time
import traceback
from collections.abc import Mapping
from contextlib import closing
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from brokerbench.bench import children, store
from brokerbench.bench.load.processes import Processes, lives_in_process
from brokerbench.bench.run import hlog
from brokerbench.bench.run.broker_usage import BrokerMeter
from brokerbench.brokers import registry
from brokerbench.brokers.errors import BrokerError
from brokerbench.brokers.protocols import Broker
from brokerbench.brokers.types import Endpoint
from brokerbench.scenarios import catalogue
from brokerbench.scenarios.base import Context, LoadFailed
from brokerbench.scenarios.history import saved_history
from brokerbench.scenarios.result_rows import metric_rows, verdict_rows
from brokerbench.scenarios.results import Cell
from brokerbench.scenarios.verdicts import Grade

if TYPE_CHECKING:
    from brokerbench.bench.load.hosts import Hosts


@dataclass(frozen=True, slots=True)
class CellJob:
    """All that a cell process is told. ``directory`` is the cell's own; ``stamp`` marks its messages."""

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
    """A process of the broker on this host, to see what it uses."""
    scheduler: str = ""
    """Address of a dask scheduler that places the load processes; empty: they run on this host."""
    examine_when_told: bool = False
    """After the experiment wait for a line on standard input: examining would disturb a neighbour's speed."""

    def to_json(self) -> str:
        return json.dumps({**asdict(self), "directory": str(self.directory)})

    @staticmethod
    def from_json(text: str) -> CellJob:
        fields = json.loads(text)
        return CellJob(
            **{
                **fields,
                "grade": Grade(fields["grade"]),
                "endpoint": Endpoint(**fields["endpoint"]),
                "directory": Path(fields["directory"]),
            }
        )


def execute(order: CellJob, events: TextIO) -> Cell:
    """Run, examine and judge one cell. Never raises for what the experiment, the broker or the disk did."""
    started, begin = datetime.now(UTC), time.monotonic()
    waited_s, error = 0.0, ""
    try:
        _run(order, events)
        store.seal_history(order.directory)
        if order.examine_when_told:
            say(events, progress=1.0, doing="waiting to be examined")
            say(events, ran=True)
            ran = time.monotonic()
            sys.stdin.readline()
            waited_s = time.monotonic() - ran
        say(events, progress=1.0, doing="examining the history")
        cell = examine(_cell(order, started), order.directory)
    except Exception as problem:  # whatever it is, the cell has failed and the run goes on
        error = describe(problem) + store.judging_hint(order.directory)
        _log_traceback(order)
        cell = failed(order, started, error)
    cell = cell.model_copy(update={"duration_s": round(time.monotonic() - begin - waited_s, 3)})
    try:
        store.save_cell(order.directory.parent.parent, cell)
    except OSError as problem:  # the event still tells
        return failed(order, started, error or describe(problem))
    return cell


def _run(order: CellJob, events: TextIO) -> None:
    scenario = catalogue.scenario(order.scenario)
    scenario.check(order.parameters)  # not every order comes from a plan
    with closing(registry.connect(order.profile, order.endpoint)) as broker, _load(order) as load:
        declaration = broker.declaration()
        store.save_declaration(order.directory, declaration)
        context = Context(
            profile=order.profile,
            parameters=order.parameters,
            seed=order.seed,
            run=order.stamp,
            broker=broker,
            declaration=declaration,
            endpoint=order.endpoint,
            connect=lambda: registry.connect(order.profile, order.endpoint),
            channel_prefix=order.channel_prefix,
            history_directory=order.directory / "history",
            load=load,
            progress=lambda share, doing: say(events, progress=share, doing=doing),
            engine_use=(lambda: None) if order.engine_pid is None else BrokerMeter(order.engine_pid),
        )
        try:
            scenario.run(context)
            say(events, progress=1.0, doing="gathering the history")
            load.gather(order.directory / "gathered")
        finally:
            load.close()
            remove_channels(broker, order.channel_prefix)


def _load(order: CellJob) -> Processes | Hosts:
    if not order.scheduler or lives_in_process(order.profile):
        return Processes()
    from brokerbench.bench.load.hosts import Hosts  # a second of imports, only where it is wanted

    return Hosts(order.scheduler)


def remove_channels(broker: Broker, prefix: str) -> None:
    """Delete every channel whose name starts with ``prefix``, and no other."""
    for name in broker.list_channels(prefix):
        broker.delete_channel(name)


def examine(cell: Cell, directory: Path) -> Cell:
    """The cell judged from what is on disk: the same function serves a fresh run and ``analyse``."""
    scenario = catalogue.scenario(cell.scenario)
    loaded = saved_history.load(directory / "history")
    examination = scenario.examine(loaded)
    hlog.write(directory, loaded)
    declaration = store.load_declaration(directory)
    return cell.model_copy(
        update={
            "status": "completed",
            "error": "",
            "verdicts": verdict_rows(declaration, examination, scenario.properties, cell.grade, cell.history),
            "metrics": metric_rows(examination.metrics, cell.grade),
        }
    )


def failed(order: CellJob, started: datetime, error: str) -> Cell:
    return _cell(order, started).model_copy(update={"status": "failed", "error": error})


def _cell(order: CellJob, started: datetime) -> Cell:
    return Cell(
        id=order.id,
        profile=order.profile,
        scenario=order.scenario,
        parameters=dict(order.parameters),
        seed=order.seed,
        engine=order.engine,
        grade=order.grade,
        status="completed",
        started=started.isoformat(timespec="seconds"),
        duration_s=0.0,
        history=f"cells/{order.id}/history",
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


def _log_traceback(order: CellJob) -> None:
    try:
        (order.directory / "error.txt").write_text(traceback.format_exc(), encoding="utf-8")
    except OSError:
        traceback.print_exc()  # a full disk: standard error goes to the run's log


def say(events: TextIO, **event: Any) -> None:
    events.write(json.dumps(event) + "\n")
    events.flush()


def main() -> int:
    children.require_same_code()
    # What libraries print must not mix with the events: they keep the real standard output.
    events = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    order = CellJob.from_json(sys.stdin.readline())
    cell = execute(order, events)
    say(events, status=cell.status, error=cell.error)
    return 0


if __name__ == "__main__":
    sys.exit(main())
