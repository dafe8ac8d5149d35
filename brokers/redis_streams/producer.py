"""Sending to Redis Streams: pipelined XADD on one connection, so that each stream keeps the order of sending."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import hiredis
import numpy as np

from brokerbench.brokers.contract import ThreadGuard, check
from brokerbench.brokers.errors import Unreachable, Unsupported
from brokerbench.brokers.redis_streams.codec import Packer, places_of
from brokerbench.brokers.redis_streams.connection import RedisConnection, pack
from brokerbench.brokers.redis_streams.declaration import MAX_PAYLOAD_BYTES
from brokerbench.brokers.settling import Outcomes
from brokerbench.brokers.types import (
    NO_PARTITION,
    NO_PLACE,
    Batch,
    IntColumn,
    Outcome,
    ProducerSettings,
    SendReceipt,
    Settlements,
    SmallIntColumn,
    constant,
)

REQUEST_MESSAGES = 1000
REQUEST_BYTES = 4 << 20


@dataclass(frozen=True, slots=True)
class _Request:
    """XADDs that were written together and settle together; a requested fsync adds one reply."""

    first_ticket: int
    partitions: SmallIntColumn
    give_up_ns: int


class RedisProducer:
    """Up to ``settings.concurrency`` requests are in flight on one connection; each settles with its last reply.

    An unanswered request makes itself and all behind it UNKNOWN and drops the connection; the next ``send``
    makes a new one. ``fsync`` asks for WAITAOF after each request: quick where the server runs with
    ``appendfsync always``; with ``everysec`` each request waits for the next second.
    """

    def __init__(
        self, connect: Callable[[], RedisConnection], streams: list[bytes], settings: ProducerSettings, *, fsync: bool
    ) -> None:
        self._connect = connect
        self._settings = settings
        self._packer = Packer(streams)
        self._fsync = pack(b"WAITAOF", 1, 0, int(settings.timeout_s * 1000)) if fsync else b""
        self._guard = ThreadGuard("a Redis producer")
        self._next_ticket = 0
        self._open: deque[_Request] = deque()
        self._open_messages = 0
        self._replies: list[Any] = []
        self._settled: list[Settlements] = []
        self._connection = connect()
        if fsync:
            _require_fsync(self._connection)

    def send(self, batch: Batch) -> SendReceipt:
        with self._guard:
            check(batch)
            if batch.dedup_ids is not None:
                raise Unsupported(
                    "dedup_ids", "Redis appends whatever it is sent (before 8.6, which this adapter supports)"
                )
            if self._connection.closed:
                self._connection = self._connect()
            first, count = self._next_ticket, len(batch)
            rejected = tuple(row for row, payload in enumerate(batch.payloads) if len(payload) > MAX_PAYLOAD_BYTES)
            total = sum(map(len, batch.payloads))
            step = max(1, min(REQUEST_MESSAGES, count * REQUEST_BYTES // max(1, total)))
            start = 0
            for stop in (*rejected, count):
                for at in range(start, stop, step):
                    self._request(batch, range(at, min(at + step, stop)), first)
                if stop < count:
                    self._settle_all(first + stop, 1, Outcome.REJECTED, f"larger than {MAX_PAYLOAD_BYTES} bytes")
                start = stop + 1
            self._next_ticket += count
            return SendReceipt(first, count, rejected)

    def poll(self) -> Settlements:
        with self._guard:
            self._advance(0.0)
            return self._hand_over()

    def flush(self, timeout_s: float) -> Settlements:
        with self._guard:
            give_up = time.monotonic() + timeout_s
            while self._open and (left_s := give_up - time.monotonic()) > 0:
                self._advance(left_s)
            return self._hand_over()

    def close(self) -> Settlements:
        if not self._guard.close():
            return Settlements.empty()
        if self._open:
            self._advance(0.0)
        self._give_up("the producer was closed before Redis answered")
        return self._hand_over()

    def _request(self, batch: Batch, rows: range, first: int) -> None:
        limit = max(len(rows), self._settings.max_in_flight)
        while self._open and (len(self._open) >= self._settings.concurrency or self._open_messages + len(rows) > limit):
            self._advance(self._settings.timeout_s)
        if self._connection.closed:
            self._settle_all(first + rows.start, len(rows), Outcome.REJECTED, "not sent: the connection was lost")
            return
        data, partitions = self._packer.pack(batch, rows)
        give_up_ns = time.monotonic_ns() + int(self._settings.timeout_s * 1e9)
        self._open.append(_Request(first + rows.start, partitions, give_up_ns))
        self._open_messages += len(rows)
        try:
            self._connection.write(data + self._fsync)
        except Unreachable as error:
            self._give_up(str(error))

    def _advance(self, wait_s: float) -> None:
        """Take in replies, waiting up to ``wait_s`` for the first; settle requests that are complete or too old."""
        if not self._open:
            return
        left_s = (self._open[0].give_up_ns - time.monotonic_ns()) / 1e9
        try:
            if self._connection.fill(min(wait_s, left_s)):
                self._replies += self._connection.replies()
        except Unreachable as error:
            self._give_up(str(error))
            return
        extra = 1 if self._fsync else 0
        while self._open and len(self._replies) >= len(self._open[0].partitions) + extra:
            request = self._open.popleft()
            count = len(request.partitions)
            replies = self._replies[:count]
            safe = not self._fsync or _is_safe(self._replies[count])
            del self._replies[: count + extra]
            self._open_messages -= count
            self._settled.append(_settled(request, replies, safe=safe))
        if self._open and self._open[0].give_up_ns <= time.monotonic_ns():
            self._give_up(f"Redis did not answer within {self._settings.timeout_s:g} s")

    def _give_up(self, reason: str) -> None:
        """Drop the connection. Messages with a reply have their outcome; those behind are UNKNOWN."""
        self._connection.close()
        for request in self._open:
            count = len(request.partitions)
            replies, self._replies = self._replies[:count], []
            if replies and not self._fsync:
                part = _Request(request.first_ticket, request.partitions[: len(replies)], 0)
                self._settled.append(_settled(part, replies, safe=True))
            known = 0 if self._fsync else len(replies)
            self._settle_all(request.first_ticket + known, count - known, Outcome.UNKNOWN, reason)
        self._open.clear()
        self._open_messages = 0
        self._replies = []

    def _settle_all(self, first: int, count: int, outcome: Outcome, reason: str) -> None:
        self._settled.append(Settlements.uniform(first, count, outcome, time.monotonic_ns(), reason))

    def _hand_over(self) -> Settlements:
        settled, self._settled = self._settled, []
        return Settlements.concat(settled)


def _settled(request: _Request, replies: list[Any], *, safe: bool) -> Settlements:
    """Outcomes of one request. An error reply is a rejection; without the requested fsync outcomes are UNKNOWN."""
    count = len(replies)
    tickets: IntColumn = np.arange(request.first_ticket, request.first_ticket + count, dtype=np.int64)
    outcome = Outcome.ACKNOWLEDGED if safe else Outcome.UNKNOWN
    if set(map(type, replies)) <= {bytes}:
        found = Outcomes(tickets, request.partitions, places_of(replies), outcome)
        refused: Sequence[int] = ()
    else:
        added = [at for at, reply in enumerate(replies) if isinstance(reply, bytes)]
        refused = sorted(set(range(count)).difference(added))
        found = Outcomes(tickets, request.partitions.copy(), constant(NO_PLACE, count, np.int64), outcome)
        found.places[added] = places_of([replies[at] for at in added])
        found.partitions[refused] = NO_PARTITION
    if not safe:
        found.tell([0], outcome, "appended, but not confirmed to be on disk")
    for at in refused:
        found.tell([at], Outcome.REJECTED, str(replies[at]))
    return found.settlements()


def _is_safe(reply: Any) -> bool:
    """WAITAOF answers [local fsyncs, replicas]."""
    return isinstance(reply, list) and bool(reply[0] >= 1)


def _require_fsync(connection: RedisConnection) -> None:
    (reply,) = connection.ask([pack(b"WAITAOF", 1, 0, 1)])
    if isinstance(reply, hiredis.ReplyError):
        connection.close()
        raise Unsupported("durability=strict", f"Redis does not confirm writes to disk: {reply}")
