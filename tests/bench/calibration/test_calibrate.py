"""Calibration: ratios, the output of the tools, and that all contenders run and print their figures."""

from __future__ import annotations

import json
from collections.abc import Callable
from itertools import count
from pathlib import Path

import pytest
from typer.testing import CliRunner

from brokerbench.bench.calibration import calibrate, own_client, workloads_kafka, workloads_omb
from brokerbench.bench.calibration.calibrate import CalibrationRequest, ContenderResult
from brokerbench.bench.calibration.fixture import CalibrationWorkload, Contender
from brokerbench.bench.calibration.own_client import ClientLoad, Sample, Verified
from brokerbench.bench.cli import app
from brokerbench.bench.engines.base import EngineChoice
from brokerbench.bench.errors import BadInput, CheckFailed


def _result(name: str, rate: float, cpu_us: float | None = None) -> ContenderResult:
    return calibrate._measured(
        Contender(name, "", lambda: Sample(rate)), [Sample(rate * noise, cpu_us) for noise in (0.99, 1.0, 1.01)]
    )


def _workload(bars: dict[str, float], most_cpu: float | None = None) -> CalibrationWorkload:
    return CalibrationWorkload("publish", {}, Contender("brokerbench", "", lambda: Sample(1.0)), (), bars, most_cpu)


def test_a_ratio_is_own_over_peer_with_an_interval_around_it() -> None:
    found = calibrate._ratio(_workload({"tool": 1.2}), _result("brokerbench", 1300.0), _result("tool", 1000.0))
    assert found.low < 1.3 < found.high
    assert found.ratio == pytest.approx(1.3)
    assert found.met


def test_below_its_bar_a_ratio_is_missed_and_without_one_it_is_neither() -> None:
    own, peer = _result("brokerbench", 1100.0), _result("tool", 1000.0)
    assert calibrate._ratio(_workload({"tool": 1.2}), own, peer).met is False
    assert calibrate._ratio(_workload({}), own, peer).met is None


@pytest.mark.parametrize(("own_cpu_us", "met"), [(105.0, True), (120.0, False), (None, False)])
def test_cpu_has_a_bar_of_its_own(own_cpu_us: float | None, met: bool) -> None:
    own, peer = _result("brokerbench", 1000.0, own_cpu_us), _result("loop", 1000.0, 100.0)
    assert calibrate._ratio(_workload({"loop": 0.97}, 1.1), own, peer).met is met


def _failing(times: int) -> Callable[[], Sample]:
    tries = count()

    def measure() -> Sample:
        if next(tries) < times:
            raise CheckFailed("no disk is left")
        return Sample(1000.0)

    return measure


def test_a_peer_that_fails_leaves_what_the_others_showed() -> None:
    own = Contender("brokerbench", "", lambda: Sample(1300.0))
    peers = [
        Contender("tool", "", lambda: Sample(1000.0)),
        Contender("bad", "", _failing(2)),
        Contender("worse", "", _failing(99)),
    ]
    told: list[str] = []
    request = CalibrationRequest("kafka", EngineChoice.NATIVE, 4, 1.0, 1.0)
    found = calibrate._compare_in_turns(
        CalibrationWorkload("publish", {}, own, peers, {"tool": 1.2, "worse": 1.2}), request, told.append
    )
    assert [ratio.peer for ratio in found.ratios] == ["tool", "bad"]
    assert found.ratios[0].met
    by_name = {result.name: result for result in found.sides}
    assert (len(by_name["bad"].rates), len(by_name["bad"].failures)) == (3, 2)
    assert (by_name["worse"].rates, by_name["worse"].low) == ([], None)
    assert sum("no disk is left" in line for line in told) == 7
    whole = calibrate.Calibration("kafka", "Kafka", "4", 2, [found], Verified(1, 1, 1, 1, 0))
    assert len(whole.failures) == 7
    assert whole.failures[0] == "publish: bad: no disk is left"
    json.dumps(calibrate.as_json(whole), allow_nan=False)
    assert "0 of its windows worked; no disk is left" in calibrate.text(whole)


def test_nothing_is_compared_when_this_side_fails() -> None:
    own = Contender("brokerbench", "", _failing(1))
    with pytest.raises(CheckFailed, match="no disk"):
        calibrate._compare_in_turns(
            CalibrationWorkload("publish", {}, own, (), {}),
            CalibrationRequest("kafka", EngineChoice.NATIVE, 3, 1.0, 1.0),
            lambda line: None,
        )


@pytest.mark.parametrize(
    "found",
    [Verified(10, 9, 10, 10, 0), Verified(10, 10, 10, 9, 0), Verified(10, 10, 10, 10, 1), Verified(0, 0, 0, 0, 0)],
)
def test_nothing_is_compared_unless_this_side_s_messages_verify(found: Verified) -> None:
    with pytest.raises(CheckFailed):
        calibrate._require_verified(found)


def test_the_consumer_tool_s_rate_is_of_what_came_after_the_warm_up() -> None:
    row = "2026-01-31 12:00:{at}, 0, 1.0, 1.0, {count}, 1.0, 0, 0, 1.0, 1.0"
    rows = [("00:900", 500), ("01:000", 1000), ("01:500", 3000), ("02:000", 6000)]
    text = "\n".join(row.format(at=at, count=count) for at, count in rows)
    assert workloads_kafka._perf_rate(text, warmup=1000).rate == pytest.approx(5000.0)
    with pytest.raises(CheckFailed, match="told too little"):
        workloads_kafka._perf_rate(text, warmup=5000)


def test_a_history_s_copies_and_damage_are_counted(tmp_path: Path) -> None:
    sample, found = own_client.noop(tmp_path / "noop", ClientLoad(256, 100, 1000), 0.01, 0.05)
    assert sample.rate > 0
    assert found.sent == found.acknowledged == found.received == found.intact > 0
    assert found.again == 0


@pytest.mark.parametrize("asked", [("memory", 3, 1.0), ("noop", 2, 1.0), ("noop", 3, 0.0)])
def test_what_cannot_be_compared_is_refused(asked: tuple[str, int, float]) -> None:
    profile, repeats, seconds = asked
    with pytest.raises(BadInput):
        calibrate.calibrate(CalibrationRequest(profile, EngineChoice.NATIVE, repeats, seconds, 0.1), lambda line: None)


def test_noop_is_measured_against_its_bar() -> None:
    done = CliRunner().invoke(app, ["calibrate", "--profile", "noop", "--seconds", "0.1", "--warmup", "0.05", "-q"])
    assert done.exit_code == 0, done.output
    assert "against 1,000,000 a second" in done.output
    assert "against zlib.crc32, each way" in done.output
    assert "bar 0.874 x" in done.output
    assert done.output.count("; bar ") == 2
    assert "all of them intact" in done.output


@pytest.mark.engine
def test_redis_is_measured_against_plain_clients() -> None:
    arguments = ["calibrate", "--profile", "redis-streams", "--engine", "native", "--seconds", "0.1", "--warmup", "0.1"]
    done = CliRunner().invoke(app, [*arguments, "--json"])
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    (work,) = found["works"]
    assert {"redis-py pipeline", "pack_commands loop"} <= {ratio["peer"] for ratio in work["ratios"]}
    assert all(ratio["low"] <= ratio["ratio"] <= ratio["high"] for ratio in work["ratios"])
    assert found["verified"]["sent"] == found["verified"]["acknowledged"] > 0


def test_openmessaging_s_first_reports_are_its_warm_up(tmp_path: Path) -> None:
    result = tmp_path / "result.json"
    result.write_text(json.dumps({"consumeRate": [1.0, 2.0, 300.0, 500.0]}))
    assert workloads_omb._rate(result).rate == pytest.approx(400.0)
    result.write_text(json.dumps({"consumeRate": [1.0]}))
    with pytest.raises(CheckFailed, match="within its warm-up"):
        workloads_omb._rate(result)
