"""Whole cells of a load on a faulty broker: what `run` says of refused sends, and of order per key."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pytest

from brokerbench.bench import store
from brokerbench.bench.run import cell, progress
from brokerbench.bench.run.cell import CellJob
from brokerbench.brokers import registry
from brokerbench.brokers.registry import Adapter, Catalogue
from brokerbench.brokers.types import Endpoint
from brokerbench.reports import html, record, speeds, tables
from brokerbench.scenarios import experiments
from brokerbench.scenarios.results import Cell
from brokerbench.scenarios.verdicts import Grade, Verdict
from tests.reports import sample

QUICK: dict[str, dict[str, Any]] = {
    "throughput": {"window_s": 0.3, "warmup_s": 0.1, "repeats": 1, "batches": [20], "ceiling_s": 0.05, "drain_s": 5.0},
    "latency": {
        "rates": [500.0],
        "window_s": 0.5,
        "rate_warmup_s": 0.1,
        "saturate_s": 0.0,
        "warmup_s": 0.1,
        "ceiling_s": 0.05,
        "search_steps": 0,
        "confirm": 0,
        "drain_s": 5.0,
    },
}


@pytest.fixture(autouse=True)
def faulty_profile(monkeypatch: pytest.MonkeyPatch) -> None:
    adapter = Adapter("faulty", "brokerbench.brokers.faulty.broker:Faulty", None, "")
    known = registry.catalogue()
    catalogue = Catalogue({**known.adapters, "faulty": adapter}, known.origins, known.broken)
    monkeypatch.setattr(registry, "catalogue", lambda: catalogue)


UNTOLD = {"delivery.key"}
"""Loads ask for no key of a delivery."""


def ran(tmp_path: Path, scenario: str, faults: str, **parameters: Any) -> Cell:
    directory = store.cell_directory(tmp_path, "it")
    directory.mkdir(parents=True)
    job = CellJob(
        id="it",
        profile="faulty",
        scenario=scenario,
        parameters={**experiments.scenario(scenario).defaults, "keys": 20, **QUICK[scenario], **parameters},
        seed=3,
        stamp=77,
        engine="faulty",
        grade=Grade.SOFTWARE,
        endpoint=Endpoint("faulty", f"memory://{tmp_path}", {"faults": faults}),
        channel_prefix="it-",
        directory=directory,
    )
    return cell.execute(job, io.StringIO())


@pytest.mark.parametrize("scenario", ["throughput", "latency"])
def test_one_refused_send_in_twenty_stands_beside_every_rate(tmp_path: Path, scenario: str) -> None:
    found = ran(tmp_path, scenario, "refuse:0.05")
    assert found.status == "completed", found.error
    assert found.sends is not None
    assert 0.02 < found.sends.rejected / found.sends.sent < 0.1
    assert found.sends.reasons == {"rejected": "fault: refuse"}
    assert found.sends.rejected_bytes == 1024 * found.sends.rejected
    names = ("publish_rate", "publish_bytes", "consume_rate", "consume_bytes", "goodput")
    rates = [metric for metric in found.metrics if metric.name in names]
    assert len(rates) >= 1
    for metric in rates:
        assert metric.sends is not None
        assert 0 < metric.sends.rejected < metric.sends.sent <= found.sends.sent
        assert metric.sends.reasons == {"rejected": "fault: refuse"}
    words = f"{found.sends.rejected:,} of {found.sends.sent:,} sends rejected (first reason: fault: refuse)"
    assert words in progress.summary(found)
    result = sample.result().model_copy(update={"cells": [found]})
    assert words in tables.text(result)
    assert words in html.render(result)
    if scenario == "throughput":
        assert "sends rejected (first reason: fault: refuse)" in record.render(result, [])
        sure = {"comparable": True, "doubt": "", "limited_by": ""}  # whatever else this machine did
        metrics = [metric.model_copy(update=sure) for metric in found.metrics]
        ranked = speeds.of_cell(found.model_copy(update={"metrics": metrics}))
        assert {speed.no_rank for speed in ranked} == {"sends were rejected"}
        assert {row.verdict for row in found.verdicts if row.property not in UNTOLD} == {Verdict.CONFIRMED}
        assert {row.property for row in found.verdicts if row.verdict is Verdict.NOT_TESTABLE} == UNTOLD


def test_where_every_send_is_refused_the_cell_fails_with_the_reason(tmp_path: Path) -> None:
    found = ran(tmp_path, "throughput", "refuse:1")
    assert found.status == "failed"
    assert found.sends is not None
    assert found.sends.rejected == found.sends.sent > 0
    assert found.error.startswith("no send was acknowledged: ")
    assert "rejected (first reason: fault: refuse)" in found.error
    assert not found.metrics
    assert not found.verdicts


def test_an_unknown_fate_is_counted_apart(tmp_path: Path) -> None:
    found = ran(tmp_path, "throughput", "unknown_outcome:0.05")
    assert found.sends is not None
    assert (found.sends.rejected, found.sends.rejected_bytes) == (0, 0)
    assert 0.02 < found.sends.unknown / found.sends.sent < 0.1
    assert found.sends.reasons == {"unknown": "fault: unknown_outcome"}


@pytest.mark.parametrize(
    ("scenario", "parameters", "name"),
    [
        ("throughput", {}, "ordering.per_key.one_consumer"),
        ("throughput", {"producers": 2, "groups": 2}, "ordering.per_key.several_producers"),
        ("latency", {}, "ordering.per_key.one_consumer"),
    ],
)
def test_a_load_sees_a_broken_order_per_key(
    tmp_path: Path, scenario: str, parameters: dict[str, Any], name: str
) -> None:
    found = ran(tmp_path, scenario, "reorder_within_key:0.05", **parameters)
    (row,) = [row for row in found.verdicts if row.property.startswith("ordering")]
    assert (row.property, row.verdict) == (name, Verdict.REFUTED)
    assert row.measured.violations > 0
    assert all(offender["key"] == offender["overtaken_by"]["key"] for offender in row.evidence.offenders)
    if "groups" in parameters:
        assert {offender["group"] for offender in row.evidence.offenders} <= {"brokerbench-0", "brokerbench-1"}
    others = [row for row in found.verdicts if not row.property.startswith("ordering")]
    assert {row.verdict for row in others if row.property not in UNTOLD} == {Verdict.CONFIRMED}
    assert {row.property for row in others if row.verdict is Verdict.NOT_TESTABLE} == UNTOLD


@pytest.mark.parametrize("parameters", [{"keyed": False}, {"consumers": 2}, {"durability": "relaxed"}])
def test_a_load_judges_no_order_that_nothing_is_promised_about(tmp_path: Path, parameters: dict[str, Any]) -> None:
    found = ran(tmp_path, "throughput", "reorder_within_key:0.05", **parameters)
    assert not [row for row in found.verdicts if row.property.startswith("ordering")]


def test_a_backlog_that_was_not_built_is_named(tmp_path: Path) -> None:
    found = ran(tmp_path, "latency", "", latency_limit_ms=0.0001, away_s=0.2)
    assert found.left_out["backlog"].startswith("no rate lasted")
    assert "left out: " in progress.summary(found)
    assert "backlog: no rate lasted" in progress.summary(found)
    assert "p99.99 of end_to_end_latency" in found.left_out
    result = sample.result().model_copy(update={"cells": [found]})
    assert "backlog: no rate lasted" in tables.text(result)
    assert "backlog: no rate lasted" in html.render(result)
    assert "backlog: no rate lasted" in record.render(result, [])
