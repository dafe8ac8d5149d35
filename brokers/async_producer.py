"""A producer for clients that answer each message by a future: tickets, room in flight, time-outs, closing."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import Any

import numpy as np

from brokerbench.brokers.contract import ThreadGuard, check
from brokerbench.brokers.errors import BrokerError
from brokerbench.brokers.loop import Loop
from brokerbench.brokers.types import (
    MAX_ERRORS,
    NO_PARTITION,
    NO_PLACE,
    Batch,
    Outcome,
    ProducerSettings,
    SendReceipt,
    Settlements,
)

Publish = Callable[[bytes, bytes | None, str | None, Mapping[str, str] | None], Awaitable[asyncio.Future[Any]]]
"""(payload, key, identity for deduplication, attributes) to the future of the broker's answer.

Called in the loop. Raises a BrokerError for a message that cannot be sent (TooLarge, ...): that message is rejected.
An exception in the future is the broker's refusal, so the message is rejected too: leave the future without an answer
where the fate is open.
"""
Where = Callable[[Any], tuple[int, int]]
"""From the broker's answer to partition and place; ``NO_PARTITION`` and ``NO_PLACE`` where it does not tell."""
_CLOSING_S = 5.0
"""Longest wait for cancelled sends to end."""


class AsyncProducer:
    """Implements ``Producer``. Fates have the resolution of a message; without an answer in time they are UNKNOWN."""

    def __init__(self, loop: Loop, publish: Publish, where: Where, settings: ProducerSettings) -> None:
        self._loop, self._publish, self._where, self._settings = loop, publish, where, settings
        self._guard = ThreadGuard("a producer")
        self._next_ticket = 0
        self._open: set[asyncio.Future[Any]] = set()
        self._settled: deque[tuple[int, Outcome, int, int, int, str]] = deque()

    def send(self, batch: Batch) -> SendReceipt:
        with self._guard:
            check(batch)
            first = self._next_ticket
            self._next_ticket += len(batch)
            return SendReceipt(first, len(batch), tuple(self._loop.run(self._send(batch, first))))

    def poll(self) -> Settlements:
        with self._guard:
            return self._hand_over()

    def flush(self, timeout_s: float) -> Settlements:
        with self._guard:
            self._loop.run(self._until_open(0, timeout_s))
            return self._hand_over()

    def close(self) -> Settlements:
        if not self._guard.close():
            return Settlements.empty()
        self._loop.run(self._give_up())
        return self._hand_over()

    # All below runs in the loop.

    async def _send(self, batch: Batch, first: int) -> list[int]:
        """Returns the indices of messages that were refused at once."""
        rejected = []
        for at, payload in enumerate(batch.payloads):
            if len(self._open) >= self._settings.max_in_flight:
                await self._until_open(self._settings.max_in_flight - 1, self._settings.timeout_s)
            try:
                answer = await self._publish(
                    payload,
                    batch.keys[at] if batch.keys is not None else None,
                    batch.dedup_ids[at] if batch.dedup_ids is not None else None,
                    batch.attributes[at] if batch.attributes is not None else None,
                )
            except BrokerError as error:
                rejected.append(at)
                self._settle(first + at, Outcome.REJECTED, NO_PARTITION, NO_PLACE, str(error))
                continue
            self._open.add(answer)
            # Each message has its own time-out: the first of a batch does not wait for the last to be sent.
            late = asyncio.get_running_loop().call_later(self._settings.timeout_s, answer.cancel)
            answer.add_done_callback(partial(self._answered, first + at, late))
        return rejected

    def _answered(self, ticket: int, late: asyncio.TimerHandle, answer: asyncio.Future[Any]) -> None:
        late.cancel()
        self._open.discard(answer)
        if answer.cancelled():
            self._settle(ticket, Outcome.UNKNOWN, NO_PARTITION, NO_PLACE, "no answer in time")
        elif error := answer.exception():
            self._settle(ticket, Outcome.REJECTED, NO_PARTITION, NO_PLACE, str(error))
        else:
            self._settle(ticket, Outcome.ACKNOWLEDGED, *self._where(answer.result()), "")

    def _settle(self, ticket: int, outcome: Outcome, partition: int, place: int, error: str) -> None:
        self._settled.append((ticket, outcome, time.monotonic_ns(), partition, place, error))

    async def _until_open(self, most: int, timeout_s: float) -> None:
        """Wait until at most ``most`` sends are open, or ``timeout_s`` is over."""
        give_up = time.monotonic() + timeout_s
        while len(self._open) > most and (left_s := give_up - time.monotonic()) > 0:
            how = asyncio.FIRST_COMPLETED if most else asyncio.ALL_COMPLETED
            await asyncio.wait(list(self._open), timeout=left_s, return_when=how)

    async def _give_up(self) -> None:
        for answer in list(self._open):
            answer.cancel()
        await self._until_open(0, _CLOSING_S)

    def _hand_over(self) -> Settlements:
        """Settlements that the loop appends meanwhile are handed over by the next call."""
        rows = [self._settled.popleft() for _ in range(len(self._settled))]
        if not rows:
            return Settlements.empty()
        tickets, outcomes, times, partitions, places, errors = zip(*rows, strict=True)
        reasons = [(ticket, error) for ticket, error in zip(tickets, errors, strict=True) if error]
        return Settlements(
            np.array(tickets, np.int64),
            np.array(outcomes, np.int8),
            np.array(times, np.int64),
            np.array(partitions, np.int32),
            np.array(places, np.int64),
            dict(reasons[:MAX_ERRORS]),
        )
