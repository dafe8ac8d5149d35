"""Quantities as people write them: ``"3 s"``, ``"250 ms"``, ``"1 KiB"`` for a parameter that names its unit."""

from __future__ import annotations

import re
from collections.abc import Mapping

_TIME: Mapping[str, float] = {"ns": 1e-9, "us": 1e-6, "ms": 1e-3, "s": 1.0, "min": 60.0, "h": 3600.0, "d": 86400.0}
_SIZE: Mapping[str, float] = {"B": 1, "kB": 1e3, "MB": 1e6, "GB": 1e9, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30}
_QUANTITY = re.compile(r"\s*([0-9]+(?:\.[0-9]+)?)\s*([A-Za-z]+)\s*")


def dimension(parameter: str) -> tuple[Mapping[str, float], str] | None:
    """The units that a parameter accepts, and the unit in its name; None for a plain number."""
    if parameter.endswith("_ms"):
        return _TIME, "ms"
    if parameter.endswith("_s"):
        return _TIME, "s"
    if parameter == "size" or parameter.endswith(("_bytes", "_size")):
        return _SIZE, "B"
    return None


def parse(parameter: str, text: str) -> float:
    """The number in the parameter's own unit. Raises ValueError that names the valid forms."""
    known = dimension(parameter)
    match = _QUANTITY.fullmatch(text)
    if known is None or match is None:
        example = f" or a quantity such as '3 {known[1]}'" if known else ""
        raise ValueError(f"{parameter} must be a number{example}, not {text!r}")
    units, own = known
    number, unit = match.groups()
    if unit not in units:
        raise ValueError(f"unknown unit {unit!r} for {parameter}; known: {', '.join(units)}")
    return float(number) * units[unit] / units[own]
