"""Sending to SQS: whole batches go to the event loop as requests of ten, several in flight at once.

On a FIFO queue two requests in flight never share a message group: a later one waits for the earlier one, so that
the order of a group is that of ``send``. Requests are never repeated; one without an answer is UNKNOWN.
"""

from __future__ import annotations

import asyncio
import time
import uuid
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from threading import Condition
from typing import Any

import numpy as np

from brokerbench.brokers.contract import ThreadGuard, check
from brokerbench.brokers.errors import Misuse, Unsupported
from brokerbench.brokers.settling import Outcomes
from brokerbench.brokers.sqs import codec
from brokerbench.brokers.sqs.connection import Clients, end, explained, refused
from brokerbench.brokers.types import Batch, IntColumn, Outcome, ProducerSettings, SendReceipt, Settlements

_ENTRY_IDS = tuple(str(at) for at in range(codec.MAX_ENTRIES))


@dataclass(frozen=True, slots=True)
class _Columns:
    """A batch on its way. ``groups`` and ``dedup_ids`` exist on FIFO queues only."""

    bodies: Sequence[str]
    groups: Sequence[str] | None
    dedup_ids: Sequence[str] | None
    attributes: Sequence[Mapping[str, str]] | None

    def entries(self, members: Sequence[int]) -> list[dict[str, Any]]:
        bodies, groups, dedup_ids = self.bodies, self.groups, self.dedup_ids
        entries: list[dict[str, Any]] = [
            {"Id": entry_id, "MessageBody": bodies[at]} for entry_id, at in zip(_ENTRY_IDS, members, strict=False)
        ]
        if groups is not None and dedup_ids is not None:
            for entry, at in zip(entries, members, strict=True):
                entry["MessageGroupId"] = groups[at]
                entry["MessageDeduplicationId"] = dedup_ids[at]
        if self.attributes is not None:
            for entry, at in zip(entries, members, strict=True):
                if attributes := self.attributes[at]:
                    entry["MessageAttributes"] = {
                        name: {"DataType": "String", "StringValue": value} for name, value in attributes.items()
                    }
        return entries


@dataclass(slots=True, eq=False)
class _Request:
    """``members`` index into the columns; ``blockers`` counts earlier requests with one of its groups."""

    columns: _Columns
    members: Sequence[int]
    first_ticket: int
    blockers: int = 0
    followers: list[_Request] = field(default_factory=list)

    def groups(self) -> set[str]:
        groups = self.columns.groups
        return set() if groups is None else {groups[at] for at in self.members}

    def tickets(self) -> IntColumn:
        return np.asarray(self.members, np.int64) + self.first_ticket

    def settled(self, outcome: Outcome, why: str) -> Settlements:
        """All messages with one outcome, now."""
        found = Outcomes.of_sends(self.tickets(), outcome)
        found.tell(slice(None), outcome, why)
        return found.settlements()


class SqsProducer:
    """Made by ``SqsStandard`` and ``SqsFifo``."""

    def __init__(self, clients: Clients, url: str, fifo: bool, settings: ProducerSettings) -> None:
        if settings.concurrency < 1:
            raise Misuse("concurrency starts at 1")
        self._loop, self._url, self._fifo, self._settings = clients.loop, url, fifo, settings
        self._client: Any = clients.loop.run(clients.client(settings.concurrency))
        self._guard = ThreadGuard("an SQS producer")
        self._name = uuid.uuid4().hex
        self._next_ticket = 0
        # Shared with the loop, under the condition.
        self._changed = Condition()
        self._in_flight = 0
        self._room_at = -1
        self._settled: list[Settlements] = []
        # The loop's own.
        self._ready: deque[_Request] = deque()
        self._open: set[_Request] = set()
        self._last_of_group: dict[str, _Request] = {}
        self._workers: set[asyncio.Task[None]] = set()

    def send(self, batch: Batch) -> SendReceipt:
        """Waits until the batch finds room in flight, or nothing is in flight.

        Raises Unsupported for ``dedup_ids`` on a standard queue.
        """
        with self._guard:
            check(batch)
            if batch.dedup_ids is not None and not self._fifo:
                raise Unsupported("dedup_ids", "SQS deduplicates on FIFO queues only")
            first, count = self._next_ticket, len(batch)
            if not count:
                return SendReceipt(first, 0)
            columns, problems, sizes = self._prepare(batch, first)
            fit: Sequence[int] = [at for at in range(count) if at not in problems] if problems else range(count)
            requests = [_Request(columns, members, first) for members in self._split(columns, fit, sizes)]
            with self._changed:
                self._await_in_flight(max(0, self._settings.max_in_flight - len(fit)), None)
                self._in_flight += len(fit)
                if problems:
                    found = Outcomes.of_sends(np.fromiter(problems, np.int64) + first, Outcome.REJECTED)
                    for row, why in enumerate(problems.values()):
                        found.tell([row], Outcome.REJECTED, why)
                    self._settled.append(found.settlements())
            self._next_ticket += count
            self._loop.events.call_soon_threadsafe(self._submit, requests)
            return SendReceipt(first, count, tuple(sorted(problems)))

    def poll(self) -> Settlements:
        with self._guard:
            return self._take()

    def flush(self, timeout_s: float) -> Settlements:
        with self._guard:
            with self._changed:
                self._await_in_flight(0, timeout_s)
            return self._take()

    def close(self) -> Settlements:
        if not self._guard.close():
            return Settlements.empty()
        self._loop.run(self._give_up())
        return self._take()

    def _await_in_flight(self, at_most: int, timeout_s: float | None) -> None:
        """Wait; the loop wakes this thread once, not at every request. Call with the condition held."""
        self._room_at = at_most
        self._changed.wait_for(lambda: self._in_flight <= at_most, timeout_s)
        self._room_at = -1

    def _prepare(self, batch: Batch, first: int) -> tuple[_Columns, dict[int, str], list[int]]:
        """Columns to send, the reasons of messages that SQS would not take (by index), and sizes in bytes."""
        bodies = codec.encode(batch.payloads, batch.keys)
        sizes = [len(body) for body in bodies]
        problems: dict[int, str] = {}
        attributes = batch.attributes if batch.attributes is not None and any(batch.attributes) else None
        if attributes is not None:
            for at, of_message in enumerate(attributes):
                sizes[at] += codec.attribute_bytes(of_message)
                if problem := codec.attribute_problem(of_message):
                    problems[at] = problem
        if max(sizes) > codec.MAX_REQUEST_BYTES:
            for at, size in enumerate(sizes):
                if size > codec.MAX_REQUEST_BYTES:
                    problems[at] = f"{size} bytes as an SQS message, at most {codec.MAX_REQUEST_BYTES}"
        if not self._fifo:
            return _Columns(bodies, None, None, attributes), problems, sizes
        keys: Sequence[bytes | None] = batch.keys if batch.keys is not None else [None] * len(batch)
        group_of = {key: codec.group_of(key) for key in set(keys)}
        dedup_ids = batch.dedup_ids or [f"{self._name}-{first + at}" for at in range(len(batch))]
        return _Columns(bodies, [group_of[key] for key in keys], dedup_ids, attributes), problems, sizes

    def _split(self, columns: _Columns, fit: Sequence[int], sizes: Sequence[int]) -> list[Sequence[int]]:
        if not fit:
            return []
        if columns.groups is None:
            return codec.split(fit, sizes)
        groups = columns.groups
        shares = codec.lanes([groups[at] for at in fit], self._settings.concurrency)
        return [request for share in shares for request in codec.split([fit[position] for position in share], sizes)]

    def _take(self) -> Settlements:
        with self._changed:
            settled, self._settled = self._settled, []
        return Settlements.concat(settled)

    # All below runs in the loop.

    def _submit(self, requests: Sequence[_Request]) -> None:
        for request in requests:
            self._open.add(request)
            for group in request.groups():
                earlier = self._last_of_group.get(group)
                if earlier is not None and request not in earlier.followers:
                    earlier.followers.append(request)
                    request.blockers += 1
                self._last_of_group[group] = request
            if not request.blockers:
                self._ready.append(request)
        self._employ()

    def _employ(self) -> None:
        """Start a worker for each request that is ready, up to ``concurrency``."""
        for _ in range(min(len(self._ready), self._settings.concurrency - len(self._workers))):
            self._workers.add(self._loop.events.create_task(self._work()))

    async def _work(self) -> None:
        while self._ready:
            request = self._ready.popleft()
            self._settle(request, await self._send(request))
            for follower in request.followers:
                follower.blockers -= 1
                if not follower.blockers:
                    self._ready.append(follower)
            for group in request.groups():
                if self._last_of_group[group] is request:
                    del self._last_of_group[group]
            if len(self._ready) > 1:
                self._employ()
        worker = asyncio.current_task()
        assert worker is not None
        self._workers.discard(worker)

    async def _send(self, request: _Request) -> Settlements:
        try:
            async with asyncio.timeout(self._settings.timeout_s):
                answer: Mapping[str, Any] = await self._client.send_message_batch(
                    QueueUrl=self._url, Entries=request.columns.entries(request.members)
                )
        except Exception as error:  # any failure: every ticket gets an outcome
            return request.settled(Outcome.REJECTED if refused(error) else Outcome.UNKNOWN, explained(error))
        settled_ns = time.monotonic_ns()
        found = Outcomes.of_sends(request.tickets(), Outcome.ACKNOWLEDGED)
        for failed in answer.get("Failed", ()):
            why = f"{failed['Code']}: {failed.get('Message', '')}"
            found.tell([int(failed["Id"])], Outcome.REJECTED, why)
        return found.settlements(settled_ns)

    def _settle(self, request: _Request, settled: Settlements) -> None:
        self._open.discard(request)
        with self._changed:
            self._settled.append(settled)
            self._in_flight -= len(request.members)
            if self._in_flight <= self._room_at:
                self._changed.notify()

    async def _give_up(self) -> None:
        for worker in list(self._workers):
            worker.cancel()
        await asyncio.gather(*self._workers, return_exceptions=True)
        for request in list(self._open):
            self._settle(request, request.settled(Outcome.UNKNOWN, "closed before it was settled"))
        await end(self._client)
