"""The scenarios by name. Each is imported when it is asked for: a load process needs none of them."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from brokerbench.scenarios.base import Scenario

NAMES: tuple[str, ...] = ("replay", "ordering", "retention", "throughput", "latency")


def scenario(name: str) -> Scenario:
    """Raises KeyError for an unknown name."""
    if name not in NAMES:
        raise KeyError(name)
    found: Scenario = import_module(f"brokerbench.scenarios.{name}").SCENARIO
    return found
