from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest
from confluent_kafka import Producer

from brokerbench.brokers.kafka import client_choice


@pytest.fixture(scope="module")
def mock() -> Iterator[str]:
    """A broker inside the library: it lives as long as this client."""
    owner = Producer({"test.mock.num.brokers": 1, "logger": logging.getLogger("test")})
    topics = owner.list_topics(timeout=10)
    yield ",".join(f"{broker.host}:{broker.port}" for broker in topics.brokers.values())
    owner.close()


@pytest.fixture(params=["columns", "plain"])
def client(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """The client that all objects of the test use: a test runs with each."""
    name: str = request.param
    monkeypatch.setenv(client_choice.VARIABLE, name)
    return name
