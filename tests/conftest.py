"""The order of the suite. `make test` spreads files over processes: what takes longest goes first, and nobody waits."""

from __future__ import annotations

import pytest
from hypothesis import settings

# On a busy machine any example may take long: that is no failure.
settings.register_profile("shared machine", deadline=None)
settings.load_profile("shared machine")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files with a slow test first, then those that need engines, the rest last; each file stays together."""
    weights: dict[str, int] = {}
    for item in items:
        file = item.nodeid.split("::")[0]
        weight = 2 * bool(item.get_closest_marker("slow")) + bool(item.get_closest_marker("engine"))
        weights[file] = max(weights.get(file, 0), weight)
    items.sort(key=lambda item: -weights[item.nodeid.split("::")[0]])
