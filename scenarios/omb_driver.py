"""Driver files of the OpenMessaging Benchmark: which profile they mean, and what of their settings is done."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

from scenarios import documents

PROFILES: Mapping[str, str] = {"KafkaBenchmarkDriver": "kafka", "RedisBenchmarkDriver": "redis-streams"}
"""Profiles by the class name of their driver."""
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
    file = documents.read(path, _File).value
    missing: dict[str, str] = {}
    for key, value in (file.model_extra or {}).items():
        for name, text in _settings(key, value).items():
            missing[name] = _explain(name, text)
    profile = PROFILES.get(file.driverClass.rpartition(".")[2])
    if profile is None:
        missing["driverClass"] = f"no profile drives {file.driverClass}; --profile says what does"
    return Driver(file.name, profile, {}, missing)


def _settings(key: str, value: object) -> Mapping[str, str]:
    """A block of Java properties, line by line; anything else as it is."""
    if not (isinstance(value, str) and "=" in value):
        return {key: str(value)}
    pairs = (line.partition("=") for line in value.splitlines() if "=" in line)
    return {f"{key}.{name.strip()}": text.strip() for name, _, text in pairs}


def _explain(name: str, value: str) -> str:
    if name.endswith("bootstrap.servers") or name in ("redisHost", "redisPort"):
        return f"{value!r}: --engine says which broker is measured"
    return f"{value!r}: {_OURS}"
