"""The record says "one machine" only where that was so."""

from __future__ import annotations

from typing import Literal

from brokerbench.brokers import registry
from brokerbench.reports import facts, record
from brokerbench.scenarios.results import RunResult
from tests.reports import change, sample


def of_kind(kind: Literal["native", "external"], *names: str) -> RunResult:
    result = sample.result()
    engines = [e.model_copy(update={"kind": kind}) if e.name in names else e for e in result.engines]
    return result.model_copy(update={"engines": engines})


def test_engines_of_this_machine_ran_on_one() -> None:
    (sentence,) = facts.surroundings(of_kind("native", "redis", "kafka"))
    assert "on one machine, which also ran its clients: " in sentence
    assert all(engine.product in sentence for engine in sample.result().engines if engine.name in ("redis", "kafka"))


def test_nothing_is_said_of_machines_elsewhere() -> None:
    native, external = facts.surroundings(of_kind("external", "kafka"))
    kafka = next(engine.product for engine in sample.result().engines if engine.name == "kafka")
    assert kafka not in native
    assert external.startswith(
        f"Already running elsewhere: {kafka}; their machines, replicas and network are not known"
    )
    text = record.render(of_kind("external", "redis", "kafka"), registry.options())
    assert "one machine" not in text
    assert "passed `brokerbench verify` is not known to this record" in text


def test_load_from_hosts_is_not_one_machine() -> None:
    placed = change.metrics(
        sample.result(), "kafka", lambda metric: metric.model_copy(update={"labels": {**metric.labels, "hosts": 2}})
    )
    *_, said = facts.surroundings(placed)
    assert "on hosts, so that this was not one machine alone: kafka." in said
    assert "also ran its clients" not in " ".join(facts.surroundings(placed))
