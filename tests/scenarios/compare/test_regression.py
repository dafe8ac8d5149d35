"""What counts as a regression, what does not, and what is refused."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from brokerbench.scenarios.compare import regression, rounds
from brokerbench.scenarios.compare.comparability import Incomparable, took_turns
from brokerbench.scenarios.compare.regression import Change, Regression, judge
from brokerbench.scenarios.compare.rounds import Judged, Round, Series
from brokerbench.scenarios.results import RunResult
from brokerbench.scenarios.verdicts import Verdict
from tests.reports import sample

STEADY = (100.0, 101.0, 99.0, 100.5, 99.5)
_CELL = "kafka.throughput"


def a_round(
    number: int = 0, *, samples: Sequence[float] = STEADY, verdict: Verdict = Verdict.CONFIRMED, **changes: Any
) -> Round:
    found = Round(
        source=f"round-{number}",
        created=f"2026-01-01T00:00:{number:02d}+00:00",
        kind="run",
        conditions={"host: cores": "2"},
        notes={"code revision": "abc"},
        cells={_CELL: {"engine version": "Kafka 4.4", "parameter size": "1024"}},
        verdicts=(Judged(_CELL, "loss", verdict, "guaranteed", "seen"),),
        series=(Series(_CELL, "publish_rate", "msg/s", "higher", tuple(samples)),),
    )
    return replace(found, **changes)


def turns(base: Sequence[float], head: Sequence[float]) -> tuple[list[Round], list[Round]]:
    """One value a round; base and head one after the other."""
    return (
        [a_round(2 * at, samples=[value]) for at, value in enumerate(base)],
        [a_round(2 * at + 1, samples=[value]) for at, value in enumerate(head)],
    )


def only_speed(found: Regression) -> regression.SpeedChange:
    (speed,) = found.speeds
    return speed


def test_equal_rounds_are_no_regression() -> None:
    found = judge([a_round(0)], [a_round(1)])
    assert (found.worse, only_speed(found).change) == ((), Change.SAME)


def test_a_slower_build_is_worse_with_its_ratio() -> None:
    found = judge(*turns(STEADY, [value * 0.8 for value in STEADY]))
    speed = only_speed(found)
    assert (speed.change, found.in_turns, found.worse) == (Change.WORSE, True, (speed,))
    assert speed.comparison is not None
    assert speed.comparison.ratio == pytest.approx(0.8)


def test_a_faster_build_is_said_and_not_failed() -> None:
    found = judge(*turns(STEADY, [value * 1.3 for value in STEADY]))
    assert (only_speed(found).change, found.worse) == (Change.BETTER, ())


def test_of_a_time_the_longer_one_is_worse() -> None:
    base, head = turns(STEADY, [value * 1.3 for value in STEADY])
    for one in (base, head):
        one[:] = [replace(entry, series=(replace(entry.series[0], better="lower"),)) for entry in one]
    assert only_speed(judge(base, head)).change is Change.WORSE


def test_less_than_the_minimum_effect_is_none() -> None:
    base, head = turns(STEADY, [value * 0.97 for value in STEADY])
    assert only_speed(judge(base, head, minimum_effect=0.05)).change is Change.SAME
    assert only_speed(judge(base, head, minimum_effect=0.005)).change is Change.WORSE


def test_less_than_the_noise_of_the_machine_is_undecided() -> None:
    base, head = turns(STEADY, [value * 0.8 for value in STEADY])
    speed = only_speed(judge(base, head, noise={(_CELL, "publish_rate"): 0.4}))
    assert speed.change is Change.UNDECIDED
    assert "equal things differ by 40%" in speed.note


def test_without_turns_a_difference_must_exceed_the_spread_within_a_build() -> None:
    drifting = (100.0, 102.0, 104.0, 107.0, 110.0)
    slower = [value * 0.93 for value in drifting]
    speed = only_speed(judge([a_round(0, samples=drifting)], [a_round(1, samples=slower)]))
    assert (speed.change, round(speed.threshold, 3)) == (Change.UNDECIDED, 0.1)
    halved = [value * 0.5 for value in drifting]
    assert only_speed(judge([a_round(0, samples=drifting)], [a_round(1, samples=halved)])).change is Change.WORSE


@pytest.mark.parametrize("count", [1, 2])
def test_too_few_repeats_decide_nothing_and_say_so(count: int) -> None:
    for base, head in (turns(STEADY[:count], [1.0] * count), ([a_round(0, samples=STEADY[:count])], [a_round(1)])):
        speed = only_speed(judge(base, head))
        assert speed.change is Change.UNDECIDED
        assert "too few repeats to judge" in speed.note


def test_repeats_within_a_round_do_not_count_as_rounds() -> None:
    base, head = [a_round(0), a_round(2)], [a_round(1), a_round(3)]
    assert "too few repeats to judge: 2 and 2" in only_speed(judge(base, head)).note


def test_uneven_repeats_are_undecided_and_not_the_same() -> None:
    speed = only_speed(judge(*turns([60, 100, 140], [70, 120, 150])))
    assert (speed.change, "uneven" in speed.note) == (Change.UNDECIDED, True)


def test_what_stands_still_is_worse() -> None:
    assert only_speed(judge([a_round(0)], [a_round(1, samples=(0.0, 0.0, 100.0))])).change is Change.WORSE
    assert only_speed(judge([a_round(0, samples=(0.0, 1.0, 2.0))], [a_round(1)])).change is Change.UNDECIDED


def test_a_speed_or_a_verdict_that_is_gone_is_worse_and_a_new_one_is_new() -> None:
    bare = a_round(1, verdicts=(), series=())
    assert [entry.change for entry in judge([a_round(0)], [bare]).entries] == [Change.WORSE, Change.WORSE]
    assert [entry.change for entry in judge([bare], [a_round(2)]).entries] == [Change.NEW, Change.NEW]


_C, _R, _I, _N = Verdict.CONFIRMED, Verdict.REFUTED, Verdict.INCONCLUSIVE, Verdict.NOT_TESTABLE


@pytest.mark.parametrize(
    ("base", "head", "change"),
    [
        (_C, _C, Change.SAME),
        (_R, _R, Change.SAME),
        (_C, _R, Change.WORSE),
        (_C, _I, Change.WORSE),
        (_C, _N, Change.WORSE),
        (_I, _R, Change.WORSE),
        (_I, _N, Change.WORSE),
        (_N, _R, Change.WORSE),
        (_R, _I, Change.WORSE),
        (_R, _N, Change.WORSE),
        (_R, _C, Change.BETTER),
        (_I, _C, Change.BETTER),
        (_N, _C, Change.BETTER),
        (_N, _I, Change.BETTER),
    ],
)
def test_a_changed_verdict(base: Verdict, head: Verdict, change: Change) -> None:
    (found,) = judge([a_round(0, verdict=base)], [a_round(1, verdict=head)]).verdicts
    assert found.change is change


def test_the_worst_verdict_of_the_rounds_stands_and_the_others_are_said() -> None:
    head = [a_round(1), a_round(2, verdict=_R)]
    (found,) = judge([a_round(0)], head).verdicts
    assert (found.change, found.head) == (Change.WORSE, "confirmed and refuted")


def test_a_weaker_promise_is_said() -> None:
    weaker = a_round(1, verdicts=(Judged(_CELL, "loss", _C, "possible", "seen"),))
    (found,) = judge([a_round(0)], [weaker]).verdicts
    assert (found.change, found.note) == (Change.SAME, "declared guaranteed, now possible")


def test_a_cell_that_fails_is_worse_and_one_that_no_longer_fails_better() -> None:
    failed = a_round(1, failed={_CELL: "it broke"}, verdicts=(), series=())
    found = judge([a_round(0)], [failed])
    assert [(entry.change, "it broke" in entry.note) for entry in found.entries] == [(Change.WORSE, True)]
    assert judge([failed], [a_round(2)]).cells[0].change is Change.BETTER
    assert judge([failed], [replace(failed, created="2026-02-01T00:00:00+00:00")]).cells[0].change is Change.WORSE


def test_one_failed_round_of_many_is_a_failure() -> None:
    base, head = turns(STEADY, STEADY)
    head[2] = replace(head[2], failed={_CELL: "once"})
    assert judge(base, head).cells[0].change is Change.WORSE


def test_what_may_differ_is_said() -> None:
    found = judge([a_round(0)], [a_round(1, notes={"code revision": "def", "package redis": "6"})])
    assert found.differences == ("code revision: abc against def", "package redis: none against 6")


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"conditions": {"host: cores": "4"}}, "host: cores: 2 against 4"),
        ({"cells": {_CELL: {"engine version": "Kafka 4.3", "parameter size": "1024"}}}, "Kafka 4.4 against Kafka 4.3"),
        ({"cells": {_CELL: {"engine version": "Kafka 4.4"}}}, "parameter size: 1024 against not stated"),
        ({"cells": {}}, "was measured in round-0 and not in round-1"),
        ({"kind": "pytest-benchmark"}, "one is a run result, the other of pytest-benchmark"),
        ({"cut_short": True}, "round-1 was cut short"),
        ({"series": (Series(_CELL, "publish_rate", "kB/s", "higher", STEADY),)}, "in msg/s and in kB/s"),
    ],
)
def test_what_is_unlike_is_refused_with_its_reason(changes: dict[str, Any], reason: str) -> None:
    with pytest.raises(Incomparable, match=reason):
        judge([a_round(0)], [a_round(1, **changes)])
    with pytest.raises(Incomparable):
        judge([a_round(0)], [a_round(2), a_round(1, **changes)])


def test_nothing_at_all_is_refused() -> None:
    with pytest.raises(Incomparable, match="nothing to compare"):
        judge([a_round(0, cells={})], [a_round(1, cells={})])


def test_every_reason_is_given() -> None:
    other = a_round(1, conditions={"host: cores": "4"}, cells={})
    with pytest.raises(Incomparable) as refused:
        judge([a_round(0)], [other])
    assert len(refused.value.reasons) == 2


Change_ = Callable[[dict[str, Any]], None]


def _of(result: RunResult, change: Change_ = lambda content: None) -> Round:
    content = result.model_dump(mode="json")
    change(content)
    return rounds.of_run(RunResult.model_validate(content), "a run")


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda run: run["engines"][0].update(version="other 1"), "engine version"),
        (lambda run: run["engines"][0]["settings"].update(fsync="never"), "engine setting fsync"),
        (lambda run: run["engines"][0].update(kind="docker"), "engine kind"),
        (lambda run: run["cells"][0].update(grade="model"), "grade"),
        (lambda run: run["cells"][0]["parameters"].update(messages=1), "parameter messages"),
        (lambda run: run["environment"].update(cpu_model="another"), "host: processor"),
        (lambda run: run["environment"].update(cpu_count=64), "host: cores"),
        (lambda run: run["environment"].update(memory_bytes=2**40), "host: memory"),
        (lambda run: run["environment"].update(system="Plan 9"), "host: system"),
        (lambda run: run.update(complete=False), "cut short"),
        (lambda run: run["cells"].pop(), "and not in"),
    ],
)
def test_unlike_runs_are_refused(change: Change_, reason: str) -> None:
    result = sample.result()
    assert judge([_of(result)], [_of(result)]).worse == ()
    with pytest.raises(Incomparable, match=reason):
        judge([_of(result)], [_of(result, change)])


def client(name: str) -> Change_:
    def change(run: dict[str, Any]) -> None:
        used = {"name": name, "reason": "a test"}
        run["environment"]["clients"] = {cell["profile"]: used for cell in run["cells"]}

    return change


def test_other_clients_are_refused_and_one_that_is_not_stated_is_said() -> None:
    found = sample.result()
    assert judge([_of(found, client("columns"))], [_of(found, client("columns"))]).worse == ()
    with pytest.raises(Incomparable, match="client: columns against plain"):
        judge([_of(found, client("columns"))], [_of(found, client("plain"))])
    since = judge([_of(found)], [_of(found, client("columns"))])
    assert any("none against columns (a test)" in line for line in since.differences)


def test_a_figure_that_says_another_number_than_was_asked_for_is_the_same_figure() -> None:
    def labelled(number: int) -> Round:
        def change(run: dict[str, Any]) -> None:
            metric = {"name": "consume_rate", "unit": "msg/s", "grade": "software", "samples": list(STEADY)}
            cell = run["cells"][0]
            cell["parameters"]["acknowledge_every"] = 10
            cell["metrics"] = [{**metric, "better": "higher", "labels": {"acknowledge_every": number, "batch": 100}}]

        return _of(sample.result(), change)

    found = judge([labelled(10)], [labelled(1)])
    cell = sample.result().cells[0].id
    (speed,) = [entry for entry in found.speeds if entry.cell == cell]
    assert (speed.what, speed.change) == ("consume_rate (batch 100)", Change.SAME)


def test_figures_that_mean_nothing_by_themselves_are_left_out() -> None:
    compared = {entry.what.split(" ")[0] for entry in _of(sample.result()).series}
    assert "publish_rate" in compared
    assert not {name for name in compared if not name.endswith(("_rate", "_latency"))}


def _benchmark_file(**changes: Any) -> bytes:
    entry = {"fullname": "test_x[1]", "params": {"size": 1}, "extra_info": {}, "stats": {"data": [0.1, 0.2, 0.3]}}
    machine = {
        "machine": "x86_64",
        "system": "Linux",
        "release": "6",
        "python_implementation": "CPython",
        "python_version": "3.12",
        "cpu": {"brand_raw": "a processor", "count": 2},
    }
    content = {"machine_info": machine, "commit_info": {"id": "abc"}, "datetime": "2026-01-01T00:00:00+00:00"}
    return json.dumps({**content, "benchmarks": [{**entry, **changes}]}).encode()


def test_benchmarks_are_times_or_rates_of_messages() -> None:
    (timed,) = rounds.of_benchmarks(_benchmark_file(), "a file").series
    assert (timed.unit, timed.better, timed.samples) == ("s", "lower", (0.1, 0.2, 0.3))
    (rate,) = rounds.of_benchmarks(_benchmark_file(extra_info={"messages": 30}), "a file").series
    assert (rate.unit, rate.better, rate.samples) == ("msg/s", "higher", (300.0, 150.0, pytest.approx(100.0)))


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"params": {"size": 2}}, "parameter size: 1 against 2"),
        ({"extra_info": {"conditions": {"engine version": "Kafka 4"}}}, "engine version: not stated against Kafka 4"),
        ({"fullname": "test_y"}, "was measured in a and not in b"),
        ({"extra_info": {"messages": 30}}, "messages: none against 30"),
    ],
)
def test_unlike_benchmarks_are_refused(changes: dict[str, Any], reason: str) -> None:
    one, other = rounds.of_benchmarks(_benchmark_file(), "a"), rounds.of_benchmarks(_benchmark_file(**changes), "b")
    with pytest.raises(Incomparable, match=reason):
        judge([one], [other])


@pytest.mark.parametrize("content", [b"", b"[]", b'{"benchmarks": []}', _benchmark_file(stats={"data": []})])
def test_a_file_that_holds_no_timings_is_refused(content: bytes) -> None:
    with pytest.raises(ValueError, match=r"a file: (not a file of pytest-benchmark|test_x\[1\] has no single timings)"):
        rounds.of_benchmarks(content, "a file")


def test_turns() -> None:
    assert took_turns(["1", "3", "5"], ["2", "4", "6"])
    assert took_turns(["1", "4", "5"], ["2", "3", "6"])
    assert not took_turns(["1", "2", "3"], ["4", "5", "6"])
    assert not took_turns(["1", "3", "5"], ["2", "4"])
    assert not took_turns(["1"], ["2"])


def test_noise_is_measured_from_repeats_of_one_build() -> None:
    rng = np.random.default_rng(1)
    steady, rough = (
        regression.measured_noise([a_round(0, samples=(100 * rng.lognormal(0, spread, 20)).tolist())], 5)
        for spread in (0.01, 0.2)
    )
    assert 0.001 < steady[_CELL, "publish_rate"] < 0.03
    assert 0.1 < rough[_CELL, "publish_rate"] < 0.6
    with pytest.raises(Incomparable, match="no speed has the 10 repeats"):
        regression.measured_noise([a_round(0)], 5)


@pytest.mark.parametrize("speeds", [1, 20])
def test_however_many_equal_speeds_are_compared_few_comparisons_fail(speeds: int) -> None:
    """A/A: two sides of one build, all speeds of it together. At most 2.5 % may fail, each failure an accident."""
    rng = np.random.default_rng(speeds)

    def side(first: int) -> list[Round]:
        return [
            a_round(
                first + 2 * at,
                series=tuple(
                    Series(_CELL, f"speed {number}", "msg/s", "higher", (float(rng.lognormal(0, 0.1)),))
                    for number in range(speeds)
                ),
            )
            for at in range(5)
        ]

    failed = sum(bool(judge(side(0), side(1), minimum_effect=0.0).worse) for _ in range(100))
    assert failed <= 7
