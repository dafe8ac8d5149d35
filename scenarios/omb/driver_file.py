"""Driver files of the OpenMessaging Benchmark: the profile of each, and the settings that are honoured."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

from brokerbench.brokers.types import Durability
from brokerbench.scenarios.plans import yaml_document

PROFILES: Mapping[str, str] = {"KafkaBenchmarkDriver": "kafka", "RedisBenchmarkDriver": "redis-streams"}
"""Profiles by the class name of their driver."""
_ACKS, _SYNC = "producerConfig.acks", "topicConfig.flush.messages"
_ACKS_MEAN = {"all": Durability.DEFAULT, "-1": Durability.DEFAULT, "1": Durability.RELAXED}
_NUMBERS: Mapping[str, tuple[str, Callable[[str], int | float]]] = {
    "producerConfig.linger.ms": ("linger_ms", float),
    "producerConfig.batch.size": ("batch_bytes", int),
}
_ALWAYS = {("auto.offset.reset", "earliest"), ("enable.auto.commit", "false")}
_OURS = "the client keeps brokerbench's own setting"


class _File(BaseModel):
    """Only these two are fields of ``DriverConfiguration``; every driver adds its own."""

    model_config = ConfigDict(extra="allow", frozen=True)

    name: str
    driverClass: str  # noqa: N815 - their name


@dataclass(frozen=True, slots=True)
class Driver:
    """``profile`` is None where no profile here drives that broker. ``settings``: parameters of a cell."""

    name: str
    profile: str | None
    settings: Mapping[str, Any]
    not_honoured: Mapping[str, str]


def read(path: Path) -> Driver:
    """Raises DocumentError."""
    file = yaml_document.read(path, _File).value
    asked = {
        name: text for key, value in (file.model_extra or {}).items() for name, text in _settings(key, value).items()
    }
    done = _honoured(asked)
    missing = {name: _explain(name, text) for name, text in asked.items() if name not in done}
    profile = PROFILES.get(file.driverClass.rpartition(".")[2])
    if profile is None:
        missing["driverClass"] = f"no profile drives {file.driverClass}; --profile says what does"
    return Driver(
        file.name, profile, {name: value for entry in done.values() for name, value in entry.items()}, missing
    )


def _settings(key: str, value: object) -> Mapping[str, str]:
    """A block of Java properties, line by line; any other value as it is."""
    if not (isinstance(value, str) and "=" in value):
        return {key: str(value)}
    pairs = (line.partition("=") for line in value.splitlines() if "=" in line)
    return {f"{key}.{name.strip()}": text.strip() for name, _, text in pairs}


def _honoured(asked: Mapping[str, str]) -> Mapping[str, Mapping[str, Any]]:
    """Each setting that is honoured, with its parameters: none where every adapter of Kafka does that anyway."""
    done: dict[str, Mapping[str, Any]] = {
        name: {} for name, text in asked.items() if (name.partition(".")[2], text) in _ALWAYS
    }
    for name, (parameter, convert) in _NUMBERS.items():
        if name in asked:
            done[name] = {parameter: convert(asked[name])}
    acks = asked.get(_ACKS)
    if acks in _ACKS_MEAN:
        done[_ACKS] = {"durability": _ACKS_MEAN[acks]}
        # Only a send that waits for all replicas can be synced before the answer.
        if asked.get(_SYNC) == "1" and _ACKS_MEAN[acks] is Durability.DEFAULT:
            done[_SYNC] = {"durability": Durability.STRICT}
    return done


def _explain(name: str, value: str) -> str:
    if name.endswith("bootstrap.servers") or name in ("redisHost", "redisPort"):
        return f"{value!r}: --engine says which broker is measured"
    return f"{value!r}: {_OURS}"
