"""Every profile passes the kit that it asks of others, on real engines."""

from __future__ import annotations

import pytest

from bench.pytest_plugin import test_conformance

__all__ = ["test_conformance"]

pytestmark = pytest.mark.engine
PROFILES = ["memory", "sqs-standard", "sqs-fifo", "redis-streams", "kafka", "kafka-share", "nats-jetstream"]
