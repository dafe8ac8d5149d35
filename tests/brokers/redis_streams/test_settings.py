"""A server's settings bound the promises, and a setting that it does not tell changes nothing."""

from __future__ import annotations

import pytest

from brokerbench.brokers.declarations import NOT_TOLD, Support
from brokerbench.brokers.redis_streams.declaration import DECLARATION
from brokerbench.brokers.redis_streams.settings import NAMES, declared
from brokerbench.brokers.types import Durability

DEFAULTS = {
    "maxmemory": "0",
    "maxmemory-policy": "noeviction",
    "proto-max-bulk-len": "536870912",
    "appendonly": "no",
    "appendfsync": "everysec",
}


@pytest.mark.parametrize("settings", [DEFAULTS, {}, dict.fromkeys(NAMES, NOT_TOLD)])
def test_the_defaults_keep_every_promise(settings: dict[str, str]) -> None:
    found = declared(DECLARATION, settings)
    assert found.properties == DECLARATION.properties
    assert found.limits == DECLARATION.limits


@pytest.mark.parametrize(
    ("policy", "memory", "support"),
    [
        ("allkeys-lru", "1000000", Support.POSSIBLE),
        ("allkeys-random", NOT_TOLD, Support.POSSIBLE),
        ("allkeys-lru", "0", Support.GUARANTEED),
        ("volatile-lru", "1000000", Support.GUARANTEED),
    ],
)
def test_eviction_permits_a_loss(policy: str, memory: str, support: Support) -> None:
    found = declared(DECLARATION, DEFAULTS | {"maxmemory": memory, "maxmemory-policy": policy})
    for name in ("delivery.no_loss", "replay.complete", "retention.not_early"):
        assert found.of(name).support is support


def test_the_largest_message_is_the_servers() -> None:
    assert declared(DECLARATION, DEFAULTS | {"proto-max-bulk-len": "1048576"}).limits.max_message_bytes == 1 << 20


@pytest.mark.parametrize(
    ("log", "usual", "strict"),
    [
        ("yes", "appendfsync=everysec", "WAITAOF"),
        ("no", "no append-only file", "not to be had"),
        (NOT_TOLD, "does not tell", "WAITAOF"),
    ],
)
def test_durability_is_what_the_server_is_set_to(log: str, usual: str, strict: str) -> None:
    durability = declared(DECLARATION, DEFAULTS | {"appendonly": log}).durability
    assert usual in durability[Durability.DEFAULT]
    assert strict in durability[Durability.STRICT]
