"""What runs beside what."""

import pytest

from brokerbench.bench.run.runner import runs_alone
from brokerbench.scenarios import catalogue
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
    cell = CellPlan(f"any.{scenario}", "any", scenario, catalogue.scenario(scenario).DEFAULTS, seed=1)
    assert runs_alone(cell, grade) is expected
