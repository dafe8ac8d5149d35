"""Real engines for tests, started natively on first use, once a session, gone with it."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator

import pytest

from bench.engines import native, registry
from bench.guard import Guard
from brokers.types import Endpoint


@pytest.fixture(scope="session")
def endpoint_of() -> Iterator[Callable[[str], Endpoint]]:
    """``endpoint_of("kafka")``: the endpoint of a running native engine."""
    with Guard.start(f"test-{os.getpid()}") as guard:
        logs = guard.directory("logs")
        running: dict[str, native.NativeEngine] = {}

        def endpoint(broker: str) -> Endpoint:
            if broker not in running:
                running[broker] = native.start(registry.spec(broker), logs, guard)
            return running[broker].endpoint

        yield endpoint
        for engine in running.values():
            engine.stop()
