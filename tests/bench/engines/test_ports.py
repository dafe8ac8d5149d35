"""A port that another process takes between the look for a free one and the engine's start."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from brokerbench.bench.engines import base, catalogue, native
from brokerbench.bench.engines.base import LOOPBACK, free_port
from brokerbench.bench.guard import Guard
from brokerbench.bench.run import session

pytestmark = pytest.mark.engine

PROFILE = {"kafka": "kafka", "redis": "redis-streams", "sqs": "sqs-standard", "elasticmq": "sqs-standard"}
SPECS = {spec.name: spec for spec in (*catalogue.ENGINES.values(), *catalogue.SECOND_OPINIONS.values())}


@pytest.fixture
def taken() -> Iterator[int]:
    """A port on which another process listens."""
    with socket.create_server((LOOPBACK, 0)) as server:
        yield server.getsockname()[1]


@pytest.mark.parametrize(("name", "which"), [*((name, 0) for name in sorted(SPECS)), ("kafka", 1)])
def test_another_port_is_tried(
    name: str, which: int, taken: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """``which``: Kafka has a second port, its controller's."""
    ports = iter([free_port()] * which + [taken])
    monkeypatch.setattr(base, "free_port", lambda: next(ports, 0) or free_port())
    with Guard.start(f"ports-{name}-{which}") as guard:
        engine = native.start(SPECS[name], tmp_path, guard)
        assert str(taken) not in engine.endpoint.address
        session.prove(PROFILE[name], engine.endpoint, f"ready-{name}")
        engine.stop()
