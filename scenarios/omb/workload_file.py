"""Workload files of the OpenMessaging Benchmark: read as they are, and turned into cells of this project.

Fields and their meaning are those of its classes ``Workload``, ``WorkloadGenerator`` and ``KeyDistributor``. Each
is honoured, or named in ``Mapped.not_honoured`` with what happens instead.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from brokerbench.scenarios import experiments
from brokerbench.scenarios.load.payloads import Choice, Kind
from brokerbench.scenarios.omb.driver_file import Driver

AS_FAST_AS_POSSIBLE = 10_000_000
"""Messages a second: its max-rate files ask for this rate to mean "as fast as possible"."""
MINUTE_S = 60.0
_LEAST_WARMUP_S = 5.0
"""A shortened test has at least as long a warm-up, if the file's own is not shorter: brokers start cold."""
_KEYS = 10_000
"""``KeyDistributor.UNIQUE_COUNT``."""
_PACED_BATCH = 100
_FULL_BATCH = 1000


class IncompatibleField(ValueError):
    """Two fields contradict each other, or one the world. ``field`` is the one to mend."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__(message)
        self.field = field


class Workload(BaseModel):
    """``io.openmessaging.benchmark.Workload``, every field by its own name."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = ""
    topics: int = Field(ge=1)
    partitionsPerTopic: int = Field(ge=1)  # noqa: N815 - their names
    keyDistributor: Literal["NO_KEY", "KEY_ROUND_ROBIN", "RANDOM_NANO"] = "NO_KEY"  # noqa: N815
    messageSize: int = Field(ge=1)  # noqa: N815
    useRandomizedPayloads: bool = False  # noqa: N815
    randomBytesRatio: float = Field(default=0.0, ge=0.0, le=1.0)  # noqa: N815
    randomizedPayloadPoolSize: int = Field(default=0, ge=0)  # noqa: N815
    payloadFile: str | None = None  # noqa: N815
    subscriptionsPerTopic: int = Field(ge=1)  # noqa: N815
    producersPerTopic: int = Field(ge=1)  # noqa: N815
    consumerPerSubscription: int = Field(ge=1)  # noqa: N815
    producerRate: int = Field(ge=0)  # noqa: N815
    consumerBacklogSizeGB: int = Field(default=0, ge=0)  # noqa: N815
    backlogDrainRatio: float = Field(default=1.0, ge=0.0, le=1.0)  # noqa: N815
    testDurationMinutes: int = Field(ge=1)  # noqa: N815
    warmupDurationMinutes: int = Field(default=1, ge=0)  # noqa: N815

    @property
    def paced(self) -> bool:
        """Whether it asks for a rate, rather than for the highest one."""
        return 0 < self.producerRate < AS_FAST_AS_POSSIBLE


@dataclass(frozen=True, slots=True)
class Mapped:
    """A scenario with all its parameters. ``not_honoured``: field of the workload -> what is done instead."""

    scenario: str
    parameters: Mapping[str, Any]
    not_honoured: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


def mapped(workload: Workload, source: Path, driver: Driver | None = None, duration_s: float | None = None) -> Mapped:
    """``duration_s`` shortens the test; the backlog shrinks in the same proportion, so does the warm-up, to some
    seconds at least. Raises IncompatibleField.
    """
    asked_s = workload.testDurationMinutes * MINUTE_S
    scale = 1.0 if duration_s is None else duration_s / asked_s
    missing: dict[str, str] = {}
    notes = (
        [] if duration_s is None else [f"shortened: {duration_s:g} s instead of {asked_s:g} s, all else in proportion"]
    )
    if scale < 1 and workload.consumerBacklogSizeGB:
        missing["consumerBacklogSizeGB"] = f"{workload.consumerBacklogSizeGB * scale:.3g} GB, shortened with the test"
    common: dict[str, Any] = {
        "size": workload.messageSize,
        "producers": workload.producersPerTopic,
        "consumers": workload.consumerPerSubscription,
        "partitions": workload.partitionsPerTopic,
        "groups": workload.subscriptionsPerTopic,
    }
    if workload.topics > 1:
        missing["topics"] = f"one channel instead of {workload.topics}; it gets the whole rate"
    common |= {**_keys(workload), **_payload(workload, source, missing)}
    timed = asked_s * scale
    whole_warmup_s = workload.warmupDurationMinutes * MINUTE_S
    warmup_s = min(whole_warmup_s, max(_LEAST_WARMUP_S, whole_warmup_s * scale))
    if warmup_s < whole_warmup_s:
        missing["warmupDurationMinutes"] = f"a warm-up cut short: {warmup_s:g} s instead of {whole_warmup_s:g} s"
    if workload.paced:
        scenario, own = "latency", _paced(workload, timed, warmup_s, scale, missing)
    else:
        scenario, own = "throughput", _fast(workload, timed, warmup_s, missing)
        notes.append(f"producerRate {workload.producerRate} is read as: as fast as they can, in a closed loop")
    parameters = {**experiments.scenario(scenario).defaults, **common, **own}
    if driver is not None:
        parameters |= driver.settings
        missing |= driver.not_honoured
    parameters["omb"] = {
        "workload": workload.model_dump() | {"name": workload.name or source.stem},
        "driver": driver.name if driver else "",
        "not_honoured": dict(missing),
        "notes": list(notes),
    }
    return Mapped(scenario, parameters, missing, tuple(notes))


def _paced(
    workload: Workload, timed_s: float, warmup_s: float, scale: float, missing: dict[str, str]
) -> Mapping[str, Any]:
    # A message waits once for each subscription.
    waiting_bytes_a_second = workload.messageSize * workload.producerRate * workload.subscriptionsPerTopic
    away_s = scale * workload.consumerBacklogSizeGB * 2**30 / waiting_bytes_a_second
    if workload.consumerBacklogSizeGB and workload.backlogDrainRatio < 1:
        missing["backlogDrainRatio"] = "consumers have caught up when nothing older than the latency limit waits"
    return {
        "batch": _PACED_BATCH,
        "rates": [float(workload.producerRate)],
        "arrivals": "regular",
        "window_s": timed_s,
        "rate_warmup_s": warmup_s,
        "saturate_s": 0.0,
        "search_steps": 0,
        "confirm": 0,
        "away_s": away_s,
        "backlog_share": 1.0,
    }


def _fast(workload: Workload, timed_s: float, warmup_s: float, missing: dict[str, str]) -> Mapping[str, Any]:
    if workload.consumerBacklogSizeGB:
        missing["consumerBacklogSizeGB"] = "no backlog is built where no rate is given"
    return {"batches": [_FULL_BATCH], "repeats": 1, "modes": ["both"], "window_s": timed_s, "warmup_s": warmup_s}


def _keys(workload: Workload) -> Mapping[str, Any]:
    if workload.keyDistributor == "NO_KEY":
        return {"keyed": False}
    in_turn = workload.keyDistributor == "KEY_ROUND_ROBIN"
    return {"keys": _KEYS, "key_choice": Choice.IN_TURN if in_turn else Choice.RANDOM}


def _payload(workload: Workload, source: Path, missing: dict[str, str]) -> Mapping[str, Any]:
    if workload.useRandomizedPayloads:
        if not workload.randomizedPayloadPoolSize:
            missing["randomizedPayloadPoolSize"] = "0 leaves nothing to send: 1024 payloads"
        return {
            "payload": Kind.COMPRESSIBLE,
            "random_share": workload.randomBytesRatio,
            "payload_pool": workload.randomizedPayloadPoolSize or 1024,
        }
    if workload.payloadFile is None:
        return {}
    # Their command would run here, or above the folder of the workload.
    places = [Path(workload.payloadFile), *(above / workload.payloadFile for above in source.resolve().parents[:2])]
    path = next((place.resolve() for place in places if place.is_file()), None)
    if path is None:
        missing["payloadFile"] = f"there is no {workload.payloadFile}; random bytes are sent instead"
        return {}
    if (size := path.stat().st_size) != workload.messageSize:
        raise IncompatibleField("payloadFile", f"{path} has {size} bytes, and messageSize says {workload.messageSize}")
    return {"payload": Kind.REPLAY, "payload_path": str(path)}
