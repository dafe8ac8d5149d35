"""Every profile passes the conformance kit on real engines, and so does an adapter of another distribution."""

from __future__ import annotations

import pytest

from brokerbench.bench.pytest_plugin import test_conformance
from brokerbench.brokers import registry

__all__ = ["test_conformance"]

pytestmark = [pytest.mark.engine, pytest.mark.slow]
EXAMPLE = "nats-jetstream"
PROFILES = ["memory", "sqs-standard", "sqs-fifo", "redis-streams", "kafka", "kafka-share"]
if EXAMPLE in registry.profiles():
    PROFILES.append(EXAMPLE)


def test_the_example_is_installed() -> None:
    assert EXAMPLE in registry.profiles(), "it was not verified: `make example` installs it"
