"""The order of the suite. `make test` spreads files over processes: what takes longest goes first, and nobody waits."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

# On a busy machine any example may take long: that is no failure.
settings.register_profile("shared machine", deadline=None)
settings.load_profile("shared machine")


@pytest.fixture(scope="module")
def bodies_of_tests() -> Iterator[None]:
    """Load processes find bodies in test modules: children know nothing of the working directory by themselves."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(Path(__file__).parents[1]))
        yield


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files with a slow test first, then those that need engines, the rest last; each file stays together."""
    weights: dict[str, int] = {}
    for item in items:
        file = item.nodeid.split("::")[0]
        weight = 2 * bool(item.get_closest_marker("slow")) + bool(item.get_closest_marker("engine"))
        weights[file] = max(weights.get(file, 0), weight)
    items.sort(key=lambda item: -weights[item.nodeid.split("::")[0]])
