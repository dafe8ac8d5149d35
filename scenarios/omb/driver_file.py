"""Driver files of the OpenMessaging Benchmark: the profile of each, and the settings that are honoured.

Such files hold passwords and keys: whatever of them is shown or stored goes through ``brokers.masking``.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

from brokerbench.brokers import masking
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
    document = yaml_document.read(path, _File)
    file = document.value
    asked = {
        name: text for key, value in (file.model_extra or {}).items() for name, text in _settings(key, value).items()
    }
    try:
        done = _honoured(asked)
    except _NotANumber as wrong:
        raise document.error(wrong.name.split(".")[:1], str(wrong)) from None
    missing = {name: _explain(name, text) for name, text in asked.items() if name not in done}
    profile = PROFILES.get(file.driverClass.rpartition(".")[2])
    if profile is None:
        missing["driverClass"] = f"no profile drives {masking.text(file.driverClass)}; --profile says what does"
    return Driver(
        masking.text(file.name),
        profile,
        {name: value for entry in done.values() for name, value in entry.items()},
        missing,
    )


class _NotANumber(ValueError):
    """A setting that must be a number is none. ``name`` begins with the field of the file that it stands in."""

    def __init__(self, name: str, value: str) -> None:
        super().__init__(f"{name} must be a number, not {masking.setting(name, value)!r}")
        self.name = name


def _settings(key: str, value: object) -> Mapping[str, str]:
    """A block of Java properties line by line, a nested value part by part; any other value as it is."""
    if isinstance(value, dict):
        parts = [(f"{key}.{name}", part) for name, part in value.items()]
    elif isinstance(value, list):
        parts = [(f"{key}.{number}", part) for number, part in enumerate(value)]
    elif isinstance(value, str) and "=" in value and "://" not in value.partition("=")[0]:
        # A line that ends with a backslash goes on in the next one.
        lines = [line.strip() for line in re.sub(r"\\\s*\n", " ", value).splitlines()]
        pairs = [line.partition("=") for line in lines if "=" in line and not line.startswith(("#", "!"))]
        return {f"{key}.{masking.text(name.strip())}": text.strip() for name, _, text in pairs}
    else:
        return {key: str(value)}
    return {name: text for inner, part in parts for name, text in _settings(inner, part).items()}


def _honoured(asked: Mapping[str, str]) -> Mapping[str, Mapping[str, Any]]:
    """Each setting that is honoured, with its parameters: none where every adapter of Kafka does that anyway."""
    done: dict[str, Mapping[str, Any]] = {
        name: {} for name, text in asked.items() if (name.partition(".")[2], text) in _ALWAYS
    }
    for name, (parameter, convert) in _NUMBERS.items():
        if name in asked:
            try:
                done[name] = {parameter: convert(asked[name])}
            except ValueError:
                raise _NotANumber(name, asked[name]) from None
    acks = asked.get(_ACKS)
    if acks in _ACKS_MEAN:
        done[_ACKS] = {"durability": _ACKS_MEAN[acks]}
        # Only a send that waits for all replicas can be synced before the answer.
        if asked.get(_SYNC) == "1" and _ACKS_MEAN[acks] is Durability.DEFAULT:
            done[_SYNC] = {"durability": Durability.STRICT}
    return done


def _explain(name: str, value: str) -> str:
    if name.endswith("bootstrap.servers") or name in ("redisHost", "redisPort"):
        return f"{masking.setting(name, value)!r}: --engine says which broker is measured"
    return f"{masking.setting(name, value)!r}: {_OURS}"
