"""What a server's own settings make of the promises of Redis Streams: from settings to a declaration."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from brokerbench.brokers.declarations import Declaration, ProfileDeclaration, possible
from brokerbench.brokers.types import Durability

_MEMORY, _POLICY = "maxmemory", "maxmemory-policy"
_LARGEST = "proto-max-bulk-len"
_LOG, _SYNC = "appendonly", "appendfsync"
NAMES = (_MEMORY, _POLICY, _LARGEST, _LOG, _SYNC)
"""Settings of a server on which the declaration depends."""

_TAKES_STREAMS = "allkeys-"
"""Begins the policies that evict keys without an expiry, which streams are."""


def declared(base: ProfileDeclaration, settings: Mapping[str, str]) -> ProfileDeclaration:
    """``base`` for a server with these settings. One that was not told changes nothing, and is said so."""
    largest = settings.get(_LARGEST, "")
    known = base.limits.max_message_bytes
    limit = min(int(largest), known) if largest.isdecimal() and known is not None else known
    return replace(
        base,
        limits=replace(base.limits, max_message_bytes=limit),
        properties={**base.properties, **_eviction(settings)},
        durability=_durability(settings),
    )


def _eviction(settings: Mapping[str, str]) -> dict[str, Declaration]:
    policy = settings.get(_POLICY, "")
    if not policy.startswith(_TAKES_STREAMS) or settings.get(_MEMORY) == "0":
        return {}
    reason = f"beyond {_MEMORY}={settings.get(_MEMORY)} whole streams are evicted ({_POLICY}={policy})"
    names = ("delivery.no_loss", "replay.complete", "retention.not_early")
    return dict.fromkeys(names, possible("redis.io/docs: develop/reference/eviction", reason))


def _durability(settings: Mapping[str, str]) -> dict[Durability, str]:
    log, sync = settings.get(_LOG), settings.get(_SYNC)
    if log == "yes":
        usual = f"answered from memory; the append-only file is synced as appendfsync={sync} says"
    elif log == "no":
        usual = "answered from memory; there is no append-only file (appendonly=no): a stop without a snapshot loses it"
    else:
        usual = "answered from memory; whether there is an append-only file, the server does not tell"
    strict = "WAITAOF 1 0 after each request: in the append-only file on disk before it is acknowledged"
    if log == "no":
        strict = "not to be had: it needs an append-only file (appendonly=yes)"
    return {Durability.RELAXED: usual, Durability.DEFAULT: usual, Durability.STRICT: strict}
