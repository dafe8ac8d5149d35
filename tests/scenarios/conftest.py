"""Under mutation (``make mutants``) a test need only fail: the fast ones run first, and nothing shrinks."""

from __future__ import annotations

import os

import pytest
from hypothesis import Phase, settings

from brokerbench.scenarios.metrics import own_time

_MUTATED = "MUTANT_UNDER_TEST" in os.environ  # set by mutmut

settings.register_profile("mutants", phases=[Phase.generate], derandomize=True, database=None)
if _MUTATED:
    settings.load_profile("mutants")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if _MUTATED:
        items.sort(key=lambda item: item.get_closest_marker("hypothesis") is not None)


@pytest.fixture
def sound_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    """Load processes of very short windows stand still for a share of them on a busy machine: not the subject."""
    monkeypatch.setattr(own_time, "doubts", lambda of, limit_ms=None: ())
