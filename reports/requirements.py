"""The needs of a pipeline as data: criteria that a run can answer, in YAML files that are checked strictly.

::

    name: audit-and-detection
    title: Audit and detection
    quote: the sentence of the requirement behind this need
    criteria:
      - property: replay.from_beginning     # from the vocabulary in brokers/declarations.py
        level: must                         # a must admits or excludes a profile; a should ranks the admitted
        why: an investigation starts after the fact
      - property: retention.overshoot
        level: should
        weight: 2                           # only for a should; default 1
        at_most: 60                         # for a quantity, in its unit
        why: ...
      - metric: consume_rate
        labels: {mode: consume}
        level: should
        prefer: higher                      # or at_least / at_most: a number in the metric's unit
        why: ...
    not_measured:
      - title: dead letters
        why: no scenario exercises them yet
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from brokerbench.brokers.declarations import PROPERTIES, Kind
from brokerbench.scenarios.plans import yaml_document
from brokerbench.scenarios.plans.yaml_document import Document, DocumentError

SHIPPED = Path(__file__).parent / "requirements"
METRICS = ("publish_rate", "consume_rate")
"""Metrics that a criterion may name: speeds, only in a ``should``."""

_Wrong = Callable[[str, str], DocumentError]


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Criterion(_Model):
    """One condition of a need."""

    property: str | None = None
    metric: str | None = None
    labels: dict[str, str | int | float] = Field(default_factory=dict)
    level: Literal["must", "should"]
    weight: float = Field(default=1.0, gt=0, le=10)
    at_least: float | None = None
    at_most: float | None = None
    prefer: Literal["higher", "lower"] | None = None
    why: str = Field(min_length=1)

    @model_validator(mode="after")
    def _one_subject(self) -> Self:
        if (self.property is None) == (self.metric is None):
            raise ValueError("name either a property or a metric")
        return self


def subject(criterion: Criterion) -> str:
    """The name of the criterion's property or metric."""
    return criterion.property or criterion.metric or ""


class NotMeasured(_Model):
    """A part of the need that is not measured here, and the reason."""

    title: str
    why: str


class Need(_Model):
    """A use of the pipeline, with the requirement that it follows from."""

    name: str = Field(pattern=r"^[a-z][a-z0-9-]*$")
    title: str
    quote: str
    criteria: list[Criterion] = Field(min_length=1)
    not_measured: list[NotMeasured] = Field(default_factory=list)

    @property
    def musts(self) -> list[Criterion]:
        return [criterion for criterion in self.criteria if criterion.level == "must"]

    @property
    def shoulds(self) -> list[Criterion]:
        return [criterion for criterion in self.criteria if criterion.level == "should"]


def read(path: Path) -> Need:
    """Raises DocumentError with file, line, mistake and remedy."""
    document = yaml_document.read(path, Need)
    seen: set[str | None] = set()
    for number, criterion in enumerate(document.value.criteria):
        _check(document, number, criterion)
        if criterion.property in seen - {None}:
            raise document.error(("criteria", number, "property"), f"{criterion.property} is asked for twice")
        seen.add(criterion.property)
    return document.value


def read_all(paths: Sequence[Path]) -> list[Need]:
    """Needs in the order of the paths. Raises DocumentError, also for a name that occurs twice."""
    needs = [read(path) for path in paths]
    for number, need in enumerate(needs):
        if need.name in {other.name for other in needs[:number]}:
            raise DocumentError(f"{paths[number]}, line 1: the need {need.name!r} exists already in another file")
    return needs


def shipped() -> list[Need]:
    """The needs of the project, in the order of the record."""
    return read_all(sorted(SHIPPED.glob("*.yaml")))


def _check(document: Document[Need], number: int, criterion: Criterion) -> None:
    def wrong(key: str, message: str) -> DocumentError:
        return document.error(("criteria", number, key), message)

    if criterion.level == "must" and "weight" in criterion.model_fields_set:
        raise wrong("weight", "a must has no weight: it admits or excludes; only a should is weighed")
    bounds = [key for key in ("at_least", "at_most", "prefer") if getattr(criterion, key) is not None]
    if len(bounds) > 1:
        raise wrong(bounds[1], f"{bounds[0]} and {bounds[1]} exclude each other")
    if criterion.property is not None:
        _check_property(criterion, bounds, wrong)
    elif criterion.metric not in METRICS:
        suggestion = yaml_document.suggest(str(criterion.metric), METRICS)
        raise wrong("metric", f"unknown metric {criterion.metric!r}; {suggestion}")
    elif criterion.level == "must":
        raise wrong("level", "a speed can only be a should: measured on one machine, it excludes no profile")
    elif not bounds:
        raise wrong("metric", "say prefer: higher or lower, or at_least or at_most with a number in the metric's unit")


def _check_property(criterion: Criterion, bounds: list[str], wrong: _Wrong) -> None:
    name = str(criterion.property)
    if name not in PROPERTIES:
        raise wrong("property", f"unknown property {name!r}; {yaml_document.suggest(name, PROPERTIES)}")
    if criterion.labels:
        raise wrong("labels", "labels choose among metrics; a property has none")
    quantity = PROPERTIES[name].kind is Kind.QUANTITY
    if quantity and bounds not in (["at_least"], ["at_most"]):
        unit = PROPERTIES[name].unit
        raise wrong("property", f"{name} is a quantity: say at_most or at_least, a number of {unit}")
    if not quantity and bounds:
        raise wrong(bounds[0], f"{name} is a statement: it holds or not, without {bounds[0]}")
