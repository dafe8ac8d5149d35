"""The scenarios by name. Imported lazily: a load process needs none of them."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, cast

if TYPE_CHECKING:
    from brokerbench.scenarios.base import Scenario

NAMES: tuple[str, ...] = ("replay", "ordering", "retention", "throughput", "latency")


def scenario(name: str) -> Scenario:
    """The scenario's module. Raises KeyError for an unknown name."""
    if name not in NAMES:
        raise KeyError(name)
    return cast("Scenario", import_module(f"brokerbench.scenarios.{name}"))
