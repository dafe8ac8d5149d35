"""Running a scenario against a broker of this process, as the runner would."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from brokerbench.brokers import registry
from brokerbench.brokers.faulty import Fault, Faulty
from brokerbench.brokers.memory.broker import Memory, Space
from brokerbench.brokers.protocols import Broker
from brokerbench.brokers.types import Endpoint
from brokerbench.scenarios import history
from brokerbench.scenarios.base import Context, Examination, Load, LoadProcess, Measured
from brokerbench.scenarios.history import saved_history
from brokerbench.scenarios.verdicts import Finding


class NoLoad:
    def start(self, body: str, profile: str, endpoint: Endpoint, arguments: Mapping[str, Any]) -> LoadProcess:
        raise AssertionError("this scenario starts no load process")


def memory() -> Callable[[], Broker]:
    space = Space()
    return lambda: Memory(space)


def faulty(*faults: Fault) -> Callable[[], Broker]:
    broker = Faulty(Memory(Space()), faults)
    return broker.again


def loaded(scenario: Any, directory: Path, load: Load, profile: str = "memory", **parameters: Any) -> Context:
    """Of a scenario that starts load processes, on a broker of this process that nobody else uses."""
    endpoint = Endpoint(profile, f"{profile}://{directory}")
    broker = registry.connect(profile, endpoint)
    return Context(
        profile=profile,
        parameters={**scenario.DEFAULTS, "keys": 50, **parameters},
        seed=11,
        run=77,
        broker=broker,
        declaration=broker.declaration(),
        endpoint=endpoint,
        connect=lambda: registry.connect(profile, endpoint),
        channel_prefix="load-",
        history_directory=directory / "history",
        load=load,
        progress=lambda share, doing: None,
    )


def every(metrics: Iterable[Measured], name: str, **labels: object) -> list[Measured]:
    """Those of that name that have these labels."""
    return [
        metric
        for metric in metrics
        if metric.name == name and all(metric.labels.get(key) == value for key, value in labels.items())
    ]


def of(examination: Examination, name: str, **labels: object) -> Measured:
    """The only one."""
    (found,) = every(examination.metrics, name, **labels)
    return found


def context(
    scenario: Any,
    connect: Callable[[], Broker],
    directory: Path,
    endpoint: Endpoint | None = None,
    seed: int = 1,
    **parameters: Any,
) -> Context:
    """Of a scenario that starts no load process."""
    broker = connect()
    return Context(
        profile=broker.declaration().profile,
        parameters={**scenario.DEFAULTS, **parameters},
        seed=seed,
        run=77,
        broker=broker,
        declaration=broker.declaration(),
        endpoint=endpoint or Endpoint("memory", "memory://tests"),
        connect=connect,
        channel_prefix=f"t-{uuid.uuid4().hex[:8]}-",
        history_directory=directory,
        load=NoLoad(),
        progress=lambda share, doing: None,
    )


def run(
    scenario: Any,
    connect: Callable[[], Broker],
    directory: Path,
    endpoint: Endpoint | None = None,
    seed: int = 1,
    **parameters: Any,
) -> tuple[dict[str, Finding], Sequence[Measured], history.History]:
    """Findings by property, metrics and the history of one run. Every channel is deleted afterwards."""
    steps: list[float] = []
    given = context(scenario, connect, directory, endpoint, seed, **parameters)
    given = replace(given, progress=lambda share, doing: steps.append(share))
    broker = given.broker
    try:
        scenario.run(given)
    finally:
        for name in broker.list_channels(given.channel_prefix):
            broker.delete_channel(name)
        broker.close()
    assert steps == sorted(steps)
    assert steps[-1] <= 1
    seen = saved_history.load(directory)
    examination: Examination = scenario.SCENARIO.examine(seen)
    found = {finding.property: finding for finding in examination.findings}
    assert set(found) == set(scenario.PROPERTIES), "a property is missing, or too many"
    assert len(examination.findings) == len(found), "a property is answered twice"
    return found, examination.metrics, seen
