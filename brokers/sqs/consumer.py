"""Receiving from SQS. A waiting request is never abandoned: its messages would be leased to no consumer.

``receive`` begins with one long poll for at most ten messages, which returns at the first message. While requests come
back full and more is wanted, it sends several short polls at once; after a call that filled up, it begins with these.
SQS waits in whole seconds: for the rest below one second, ``receive`` sends short polls every 50 ms.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from brokerbench.brokers.contract import ThreadGuard
from brokerbench.brokers.errors import Misuse
from brokerbench.brokers.settling import Outcomes
from brokerbench.brokers.sqs import codec
from brokerbench.brokers.sqs.connection import ANSWER_S, Clients, end, explained, refused, translated_error
from brokerbench.brokers.types import NO_PARTITION, NO_PLACE, ConsumerSettings, Indices, Outcome, Received, Settlements

_MAX_WAIT_S = 20
_SHORT_PAUSE_S = 0.05
_ROUNDING_S = 0.01
"""Added to a wait before it is cut to whole seconds: one second is still one when its request starts."""
_NS_PER_MS = 1_000_000
_SYSTEM_ATTRIBUTES = ["ApproximateReceiveCount", "SentTimestamp"]
Message = Mapping[str, Any]


class SqsConsumer:
    """Made by ``SqsStandard`` and ``SqsFifo``. ``Received.handle`` is the column of receipt handles."""

    def __init__(self, clients: Clients, url: str, settings: ConsumerSettings) -> None:
        if settings.concurrency < 1:
            raise Misuse("concurrency starts at 1")
        self._loop, self._url, self._concurrency = clients.loop, url, settings.concurrency
        self._client: Any = clients.loop.run(clients.client(settings.concurrency))
        self._guard = ThreadGuard("an SQS consumer")
        self._filled_up = False

    def receive(self, max_messages: int, wait_s: float) -> Received:
        """Raises Unreachable or Refused only when nothing was received."""
        if max_messages < 1 or wait_s < 0:
            raise Misuse("receive asks for at least one message, and waits for 0 s or longer")
        with self._guard:
            messages = self._loop.run(self._receive(max_messages, time.monotonic() + wait_s))
            received_ns = time.monotonic_ns()
            return _received(messages, received_ns) if messages else Received.empty(received_ns)

    def acknowledge(self, received: Received, indices: Indices = None) -> Settlements:
        return self._change(self._client.delete_message_batch, received, indices, {})

    def release(self, received: Received, indices: Indices = None) -> Settlements:
        return self._change(self._client.change_message_visibility_batch, received, indices, {"VisibilityTimeout": 0})

    def extend(self, received: Received, lease_s: float, indices: Indices = None) -> Settlements:
        """The lease ends ``lease_s`` from now, rounded up to whole seconds; SQS refuses more than 12 h in all."""
        lease = {"VisibilityTimeout": lease_seconds(lease_s)}
        return self._change(self._client.change_message_visibility_batch, received, indices, lease)

    def close(self) -> None:
        if self._guard.close():
            self._loop.run(end(self._client))

    def _change(self, request: Any, received: Received, indices: Indices, change: Mapping[str, int]) -> Settlements:
        with self._guard:
            found = Outcomes.of(received, indices, Outcome.ACKNOWLEDGED)
            if not len(found.rows):
                return Settlements.empty()
            return self._loop.run(self._settle(request, found, received.handle, change))

    # All below runs in the loop.

    async def _receive(self, max_messages: int, deadline: float) -> list[Message]:
        messages: list[Message] = []
        if self._filled_up and max_messages > codec.MAX_ENTRIES:
            await self._fan_out(messages, max_messages)
        while not messages:
            left_s = deadline - time.monotonic()
            # The loop may be late, and SQS refuses a negative wait.
            wait_s = min(max(0, int(left_s + _ROUNDING_S)), _MAX_WAIT_S)
            messages += await self._request(min(codec.MAX_ENTRIES, max_messages), wait_s)
            left_s = deadline - time.monotonic()
            if messages or left_s <= 0:
                break
            if not wait_s:
                await asyncio.sleep(min(_SHORT_PAUSE_S, left_s))
        if codec.MAX_ENTRIES <= len(messages) < max_messages and not self._filled_up:
            await self._fan_out(messages, max_messages)
        self._filled_up = len(messages) == max_messages
        return messages

    async def _fan_out(self, messages: list[Message], max_messages: int) -> None:
        """Several short polls at once, until ``max_messages`` or one that comes back short. Adds to ``messages``.

        Received messages survive the failure of another request; a failure without any message is raised.
        """
        unclaimed = max_messages - len(messages)
        problem: Exception | None = None

        async def work() -> None:
            nonlocal unclaimed, problem
            while unclaimed and not problem:
                share = min(codec.MAX_ENTRIES, unclaimed)
                unclaimed -= share
                try:
                    found = await self._request(share, 0)
                except Exception as error:  # raised below, when nothing was received
                    problem = error
                    return
                messages.extend(found)
                if len(found) < share:
                    unclaimed = 0

        await asyncio.gather(*(work() for _ in range(min(self._concurrency, -(-unclaimed // codec.MAX_ENTRIES)))))
        if problem is not None and not messages:
            raise problem

    async def _request(self, share: int, wait_s: int) -> Sequence[Message]:
        try:
            async with asyncio.timeout(wait_s + ANSWER_S):
                answer: Mapping[str, Any] = await self._client.receive_message(
                    QueueUrl=self._url,
                    MaxNumberOfMessages=share,
                    WaitTimeSeconds=wait_s,
                    MessageSystemAttributeNames=_SYSTEM_ATTRIBUTES,
                    MessageAttributeNames=["All"],
                )
        except Exception as error:
            raise translated_error("receiving", error) from None
        messages: Sequence[Message] = answer.get("Messages", ())
        return messages

    async def _settle(
        self, request: Any, found: Outcomes, handles: Sequence[str], change: Mapping[str, int]
    ) -> Settlements:
        """Ten handles a request, several requests at once; a request without an answer leaves its ten UNKNOWN."""
        members: list[int] = found.rows.tolist()
        settled_ns = np.empty(len(members), np.int64)
        begins = iter(range(0, len(members), codec.MAX_ENTRIES))

        async def work() -> None:
            for begin in begins:
                these = slice(begin, begin + codec.MAX_ENTRIES)
                entries = [
                    {"Id": str(at), "ReceiptHandle": handles[member], **change}
                    for at, member in enumerate(members[these])
                ]
                try:
                    async with asyncio.timeout(ANSWER_S):
                        answer: Mapping[str, Any] = await request(QueueUrl=self._url, Entries=entries)
                except Exception as error:  # any failure: every index gets an outcome
                    found.tell(these, Outcome.REJECTED if refused(error) else Outcome.UNKNOWN, explained(error))
                else:
                    for failed in answer.get("Failed", ()):
                        why = f"{failed['Code']}: {failed.get('Message', '')}"
                        found.tell([begin + int(failed["Id"])], Outcome.REJECTED, why)
                settled_ns[these] = time.monotonic_ns()

        await asyncio.gather(*(work() for _ in range(min(self._concurrency, -(-len(members) // codec.MAX_ENTRIES)))))
        return found.settlements(settled_ns)


def lease_seconds(lease_s: float) -> int:
    """SQS counts leases in whole seconds: rounded up. Raises Misuse beyond 12 hours."""
    seconds = -int(-lease_s // 1)
    if not 0 <= seconds <= 43_200:
        raise Misuse(f"a lease of {lease_s:g} s: SQS takes 0 to 43,200 s")
    return seconds


def _received(messages: Sequence[Message], received_ns: int) -> Received:
    payloads, keys = codec.decode([message["Body"] for message in messages])
    system = [message["Attributes"] for message in messages]
    attributes: list[Mapping[str, str]] | None = None
    if any("MessageAttributes" in message for message in messages):
        attributes = [
            {name: value.get("StringValue", "") for name, value in message.get("MessageAttributes", {}).items()}
            for message in messages
        ]
    count = len(messages)
    return Received(
        payloads,
        keys,
        np.full(count, NO_PARTITION, np.int32),
        np.full(count, NO_PLACE, np.int64),
        received_ns,
        np.array([int(of["SentTimestamp"]) for of in system], np.int64) * _NS_PER_MS,
        np.array([int(of["ApproximateReceiveCount"]) for of in system], np.int32),
        [message["MessageId"] for message in messages],
        attributes,
        [message["ReceiptHandle"] for message in messages],
    )
