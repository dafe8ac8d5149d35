"""Which cells run alone, and their expected durations."""

from typing import Any

import pytest

from brokerbench.bench.run.runner import expected_s, runs_alone
from brokerbench.scenarios import experiments
from brokerbench.scenarios.plans.plan import CellPlan
from brokerbench.scenarios.verdicts import Grade


@pytest.mark.parametrize(
    ("scenario", "grade", "expected"),
    [
        ("throughput", Grade.SOFTWARE, True),
        ("throughput", Grade.SERVICE, True),
        ("throughput", Grade.MODEL, True),
        ("throughput", Grade.EMULATOR, False),
        ("retention", Grade.SOFTWARE, False),
    ],
)
def test_speed_that_ranks_is_measured_alone(scenario: str, grade: Grade, expected: bool) -> None:
    assert runs_alone(cell("any", scenario), grade) is expected


def cell(profile: str, scenario: str, **parameters: Any) -> CellPlan:
    values = {**experiments.scenario(scenario).defaults, **parameters}
    return CellPlan(f"{profile}.{scenario}", profile, scenario, values, seed=1)


def test_cells_of_minutes_are_announced_as_such() -> None:
    assert 70 < expected_s(cell("kafka", "latency")) < 120
    assert expected_s(cell("kafka", "latency", window_s=20.0, confirm=10)) > 300
    assert expected_s(cell("kafka", "throughput", repeats=6)) > 1.7 * expected_s(cell("kafka", "throughput"))


@pytest.mark.parametrize("scenario", ["replay", "ordering", "retention"])
def test_limits_of_a_profile_lengthen_its_cells(scenario: str) -> None:
    assert expected_s(cell("sqs-fifo", scenario)) > 1.3 * expected_s(cell("kafka", scenario))
    assert expected_s(cell("noop", scenario)) <= expected_s(cell("kafka", scenario)), "no limit, nothing to wait for"
