"""Reading Redis streams again with XREAD, outside any group."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

from brokerbench.brokers.contract import ThreadGuard, check_count
from brokerbench.brokers.redis_streams.codec import Block, entries_by_stream, received
from brokerbench.brokers.redis_streams.connection import RedisConnection, good, pack
from brokerbench.brokers.types import UNKNOWN_COUNT, Received


class RedisReader:
    """``after``: {partition: the id to read after}; other partitions are not read.

    Reading moves nothing on the server, so surplus entries are simply read again.
    """

    def __init__(
        self, connect: Callable[[], RedisConnection], streams: list[bytes], after: Mapping[int, bytes]
    ) -> None:
        self._connect = connect
        self._streams = streams
        self._after = dict(after)
        self._guard = ThreadGuard("a Redis reader")
        self._connection = connect()

    def read(self, max_messages: int, wait_s: float) -> Received:
        with self._guard:
            check_count(max_messages)
            if not self._after:
                return Received.empty(time.monotonic_ns())
            blocks: list[Block] = []
            order, want, block_s = list(self._after), max_messages, wait_s
            while want > 0 and order:
                share = -(-want // len(order))
                order, want = self._round(blocks, order, share, want, block_s)
                block_s = 0.0
            if not blocks:
                return Received.empty(time.monotonic_ns())
            return received(blocks)

    def _round(
        self, blocks: list[Block], order: list[int], share: int, want: int, block_s: float
    ) -> tuple[list[int], int]:
        """One XREAD over ``order``; returns the partitions that had a full share, and the number still wanted."""
        if self._connection.closed:
            self._connection = self._connect()
        waiting: tuple[bytes | int, ...] = (b"BLOCK", max(1, int(block_s * 1000))) if block_s > 0 else ()
        names = [self._streams[partition] for partition in order]
        ids = [self._after[partition] for partition in order]
        (reply,) = self._connection.ask([pack(b"XREAD", b"COUNT", share, *waiting, b"STREAMS", *names, *ids)], block_s)
        found: dict[bytes, Any] = entries_by_stream(good(reply))
        full: list[int] = []
        for partition in order:
            entries = found.get(self._streams[partition], [])
            taken = entries[:want]
            if taken:
                blocks.append(Block(partition, taken, UNKNOWN_COUNT))
                self._after[partition] = taken[-1][0]
                want -= len(taken)
            if len(entries) == share:
                full.append(partition)
        return full, want

    def close(self) -> None:
        if self._guard.close():
            self._connection.close()
