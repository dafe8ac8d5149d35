"""Needs are read strictly: a mistake names file, line and what would be right."""

from __future__ import annotations

from pathlib import Path

import pytest

from brokerbench.brokers.declarations import PROPERTIES
from brokerbench.reports import requirements
from brokerbench.scenarios.plans.yaml_document import DocumentError

HEAD = "name: a-need\ntitle: A need\nquote: said so\ncriteria:\n"


def write(tmp_path: Path, criteria: str) -> Path:
    path = tmp_path / "need.yaml"
    path.write_text(HEAD + criteria, encoding="utf-8")
    return path


def test_the_shipped_needs_are_those_of_the_requirements() -> None:
    needs = requirements.shipped()
    assert [need.name for need in needs] == ["webhook-buffer", "snapshot-triggers", "audit-and-detection"]
    for need in needs:
        assert need.musts and need.shoulds and need.not_measured
        assert all(criterion.property is None or criterion.property in PROPERTIES for criterion in need.criteria)
        assert all(criterion.metric is None for criterion in need.musts), "speed may only rank"


@pytest.mark.parametrize(
    ("criteria", "line", "message"),
    [
        ("  - {property: replay.from_begining, level: must, why: x}\n", 5, "did you mean 'replay.from_beginning'?"),
        ("  - property: delivery.intact\n    level: must\n    wheight: 2\n    why: x\n", 7, "did you mean 'weight'?"),
        ("  - property: delivery.intact\n    level: may\n    why: x\n", 6, "level"),
        ("  - property: delivery.intact\n    level: must\n    weight: 2\n    why: x\n", 7, "a must has no weight"),
        ("  - property: delivery.intact\n    level: should\n    weight: 0\n    why: x\n", 7, "greater than 0"),
        ("  - property: delivery.intact\n    level: must\n    at_most: 2\n    why: x\n", 7, "holds or not"),
        ("  - property: retention.overshoot\n    level: must\n    why: x\n", 5, "say at_most or at_least"),
        ("  - metric: publish_rat\n    level: should\n    prefer: higher\n    why: x\n", 5, "mean 'publish_rate'?"),
        ("  - metric: publish_rate\n    level: must\n    prefer: higher\n    why: x\n", 6, "only be a should"),
        ("  - metric: publish_rate\n    level: should\n    why: x\n", 5, "prefer: higher or lower"),
        (
            "  - metric: publish_rate\n    level: should\n    prefer: higher\n    at_least: 3\n    why: x\n",
            7,
            "exclude each other",
        ),
        ("  - level: must\n    why: x\n", 5, "either a property or a metric"),
        ("  - {property: delivery.intact, level: must, why: x, labels: {mode: both}}\n", 5, "a property has none"),
        (
            "  - {property: delivery.intact, level: must, why: x}\n"
            "  - {property: delivery.intact, level: should, why: y}\n",
            6,
            "asked for twice",
        ),
    ],
)
def test_a_mistake_names_file_line_and_remedy(tmp_path: Path, criteria: str, line: int, message: str) -> None:
    path = write(tmp_path, criteria)
    with pytest.raises(DocumentError) as raised:
        requirements.read(path)
    assert str(raised.value).startswith(f"{path}, line {line}: ")
    assert message in str(raised.value)


def test_two_files_with_one_name_are_refused(tmp_path: Path) -> None:
    first = write(tmp_path, "  - {property: delivery.intact, level: must, why: x}\n")
    second = tmp_path / "other.yaml"
    second.write_text(first.read_text(encoding="utf-8"), encoding="utf-8")
    with pytest.raises(DocumentError, match="exists already"):
        requirements.read_all([first, second])
