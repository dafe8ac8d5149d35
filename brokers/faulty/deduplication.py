"""Wrong deduplication: repeats taken for new messages, and new messages taken for repeats."""

from __future__ import annotations

from dataclasses import replace
from zlib import crc32

from brokerbench.brokers.faulty.faults import FaultName
from brokerbench.brokers.faulty.injector import Injector
from brokerbench.brokers.memory.log import Log
from brokerbench.brokers.types import NO_PARTITION, Batch

Hits = dict[int, FaultName]
"""By index in a batch."""


def disturbed(injector: Injector, log: Log, batch: Batch) -> tuple[Batch, Hits]:
    """The batch with identities that mislead the inner broker. Call with the log locked until it is sent.

    A message has no place yet: the dice use ``place_of`` its identity instead.
    """
    if batch.dedup_ids is None or not injector.has(FaultName.DEDUPLICATION_MISSED, FaultName.DEDUPLICATION_WRONG):
        return batch, {}
    now_ns = injector.now_ns()
    known: set[str] = set()
    latest = log.latest_identity(now_ns)
    identities: list[str] = []
    hits: Hits = {}
    for at, identity in enumerate(batch.dedup_ids):
        if latest is not None and (log.spec.name, identity) in injector.swallowed:
            identities.append(latest)
            continue
        repeated = identity in known or log.original(identity, now_ns) is not None
        spot = NO_PARTITION, place_of(identity)
        if repeated and injector.strikes(FaultName.DEDUPLICATION_MISSED, *spot):
            hits[at] = FaultName.DEDUPLICATION_MISSED
            identities.append(f"{identity} {injector.serial()}")
        elif not repeated and latest is not None and injector.strikes(FaultName.DEDUPLICATION_WRONG, *spot):
            hits[at] = FaultName.DEDUPLICATION_WRONG
            injector.swallowed.add((log.spec.name, identity))
            identities.append(latest)
        else:
            known.add(identity)
            identities.append(identity)
        latest = identities[-1]
    return replace(batch, dedup_ids=identities), hits


def place_of(identity: str) -> int:
    """The place that the dice use for a message with this identity; its partition is NO_PARTITION."""
    return crc32(identity.encode())
