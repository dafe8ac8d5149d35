"""Options for messages and rounds; ``brokerbench.bench.pytest_fixtures`` provides the brokers."""

from __future__ import annotations

import pytest

pytest_plugins = ["brokerbench.bench.pytest_fixtures"]


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("brokerbench")
    group.addoption("--messages", type=int, help="messages a round (default: by profile and size)")
    group.addoption("--rounds", type=int, default=5, help="measured rounds of each work, after one to warm up")
