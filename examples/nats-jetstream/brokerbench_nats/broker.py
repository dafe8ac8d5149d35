"""NATS JetStream: a channel is one stream, a group one durable pull consumer on it, a key the end of the subject.

A stream is numbered as a whole, so there are no partitions. nats-py runs in an event loop in a thread of its own.
"""

import asyncio
import json
import time
from contextlib import suppress
from datetime import UTC, datetime
from functools import partial, partialmethod
from typing import Any, Self

import numpy as np
from nats import errors
from nats.aio.client import Client
from nats.js import api
from nats.js.errors import NotFoundError, ServerError, ServiceUnavailableError

from brokerbench.brokers import types as its
from brokerbench.brokers.async_producer import AsyncProducer
from brokerbench.brokers.contract import Opened, ThreadGuard, check_count
from brokerbench.brokers.errors import BrokerError, ChannelMissing, Misuse, Refused, TooLarge, Unreachable, Unsupported
from brokerbench.brokers.loop import Loop
from brokerbench.brokers.settling import Outcomes
from brokerbench_nats.declaration import DECLARATION, LARGEST_BYTES, LEAST_LEASE_S, LONGEST_SUBJECT


async def _ignore(error: Exception) -> None:
    """Errors that matter are raised by the call that they concern."""


ANSWER_S, LEAST_WAIT_S, MANY, WHOLE = 5.0, 0.05, 1 << 30, its.NO_PARTITION
OPTIONS: Any = {"error_cb": _ignore, "max_reconnect_attempts": -1, "reconnect_time_wait": 0.1, "pending_size": MANY}


class JetStream:
    def __init__(self, endpoint: its.Endpoint) -> None:
        self._loop, self.nats = Loop("nats"), Client()
        self._opened = Opened(lambda: self.run(self.nats.close()), self._loop.close)
        try:
            self.run(asyncio.wait_for(self.nats.connect(f"nats://{endpoint.address}", **OPTIONS), ANSWER_S))
        except BrokerError:
            self._loop.close()
            raise
        self.js = self.nats.jetstream(timeout=ANSWER_S, publish_async_max_pending=MANY)

    @classmethod
    def connect(cls, endpoint: its.Endpoint) -> Self:
        return cls(endpoint)

    def run(self, work: Any) -> Any:
        """In the loop. The library's errors come out as the project's."""
        try:
            return self._loop.run(work)
        except NotFoundError as error:
            raise ChannelMissing(str(error)) from None
        except (OSError, ServerError, ServiceUnavailableError) as error:
            raise Unreachable(f"NATS does not answer: {error}") from None
        except (errors.Error, ValueError) as error:
            raise Refused(str(error)) from None

    def declaration(self) -> Any:
        return DECLARATION

    def server_version(self) -> str:
        version = self.nats.connected_server_version
        return f"NATS {version.major}.{version.minor}.{version.patch}"

    def create_channel(self, spec: its.ChannelSpec) -> None:
        kept = spec.retention or its.Retention()
        if spec.partitions < 1 or spec.lease_s < LEAST_LEASE_S:
            raise Misuse(f"a channel needs at least one partition and {LEAST_LEASE_S:g} s of lease")
        if spec.dead_letter or kept.segment_bytes or kept.segment_ms or spec.durability is its.Durability.STRICT:
            raise Unsupported("dead letters, segments, durability=strict", "a JetStream stream has none of these")
        # The mark makes streams differ: an equal one would be created again without a word.
        about = {"lease_s": str(spec.lease_s), "mark": str(time.time_ns())}
        limits: Any = {"max_age": kept.max_age_s, "max_bytes": kept.max_bytes, "max_msgs": kept.max_messages}
        self.run(self.js.add_stream(name=spec.name, subjects=[spec.name, f"{spec.name}.*"], metadata=about, **limits))

    def delete_channel(self, name: str) -> None:
        with suppress(ChannelMissing):
            self.run(self.js.delete_stream(name))

    def list_channels(self, prefix: str) -> list[str]:
        names: list[str] = []
        while page := self.run(self.js.streams_info(len(names))):
            names += [info.config.name for info in page]
        # Twice, where others made streams between two pages.
        return sorted({name for name in names if name.startswith(prefix)})

    def producer(self, channel: str, settings: its.ProducerSettings) -> AsyncProducer:
        self._stream(channel)
        producer = AsyncProducer(self._loop, partial(self._publish, channel), lambda ack: (WHOLE, ack.seq), settings)
        return self._opened.add(producer)

    async def _publish(self, channel: str, payload: bytes, key: bytes | None, dedup: str | None, about: Any) -> Any:
        subject = channel if key is None else f"{channel}.k{key.hex()}"
        headers = {"Nats-Msg-Id": json.dumps(dedup)} if dedup is not None else {}
        headers |= {"Attributes": json.dumps(dict(about))} if about else {}
        room = LARGEST_BYTES - (len(str(headers)) + 16 if headers else 0)
        if len(payload) > room or len(subject) > LONGEST_SUBJECT:
            raise TooLarge(f"more than {room} bytes, or a key that is too long")
        return await self.js.publish_async(subject, payload, headers=headers or None)

    def consumer(self, channel: str, settings: its.ConsumerSettings) -> "JetStreamConsumer":
        lease_s = float(self._stream(channel).config.metadata["lease_s"])
        config = api.ConsumerConfig(durable_name=settings.group, ack_wait=lease_s, max_ack_pending=-1)
        return self._opened.add(JetStreamConsumer(self, channel, config))

    def reader(self, channel: str, start: its.ReplayStart) -> "JetStreamConsumer":
        config = api.ConsumerConfig(ack_policy=api.AckPolicy.NONE, inactive_threshold=300.0, mem_storage=True)
        if isinstance(start, its.FromTime):
            config.deliver_policy = api.DeliverPolicy.BY_START_TIME
            config.opt_start_time = datetime.fromtimestamp(start.epoch_ns // 1000 / 1e6, UTC)
        elif isinstance(start, its.FromPosition):
            config.deliver_policy = api.DeliverPolicy.BY_START_SEQUENCE
            config.opt_start_seq = max(1, start.position.places.get(WHOLE, 1 << 62))
        return self._opened.add(JetStreamConsumer(self, channel, config))

    def bounds(self, channel: str) -> tuple[its.Position, its.Position]:
        state = self._stream(channel).state
        return its.Position({WHOLE: max(1, state.first_seq)}), its.Position({WHOLE: state.last_seq + 1})

    def backlog(self, channel: str, group: str) -> int:
        try:
            info = self.run(self.js.consumer_info(channel, group))
        except ChannelMissing:  # perhaps only the group
            return int(self._stream(channel).state.messages)
        return int(info.num_pending + info.num_ack_pending)

    def close(self) -> None:
        self._opened.close()

    def _stream(self, channel: str) -> Any:
        return self.run(self.js.stream_info(channel))


class JetStreamConsumer:
    """A group's member, or a reader: that has a JetStream consumer of its own, which takes no acknowledgements."""

    def __init__(self, broker: JetStream, channel: str, config: api.ConsumerConfig) -> None:
        self._broker, self._channel, self._got = broker, channel, list[Any]()
        self._counts = config.ack_policy != api.AckPolicy.NONE
        self._guard, self._name = ThreadGuard("a consumer"), broker.run(broker.js.add_consumer(channel, config)).name
        self._messages = broker.run(broker.js.pull_subscribe_bind(self._name, channel, pending_bytes_limit=-1))

    def receive(self, max_messages: int, wait_s: float) -> its.Received:
        with self._guard:
            check_count(max_messages)
            if not self._got:  # a late answer to an earlier request may bring more than was asked for
                self._got = self._broker.run(self._fetch(max_messages, max(wait_s, LEAST_WAIT_S)))
            got, self._got = self._got[:max_messages], self._got[max_messages:]
            # $JS.ACK.stream.consumer.deliveries.sequence.sequence of the consumer.time.waiting
            info = np.array([one.reply.split(".")[4:8] for one in got], "U20").reshape(-1, 4).astype(np.int64)
            ends = [one.subject.partition(".k") for one in got]
            keys = [bytes.fromhex(key) if mark else None for _, mark, key in ends]
            about = [json.loads((one.headers or {}).get("Attributes", "{}")) for one in got]
            partitions, counts = np.full(len(got), WHOLE, np.int32), (info[:, 0] * self._counts).astype(np.int32)
            columns = [one.data for one in got], keys, partitions, info[:, 1], time.monotonic_ns(), info[:, 3], counts
            return its.Received(*columns, attributes=about if any(about) else None, handle=[one.reply for one in got])

    read = receive

    async def _fetch(self, count: int, wait_s: float) -> Any:
        try:
            return await self._messages.fetch(count, wait_s)
        except (TimeoutError, ServiceUnavailableError):  # nothing came: is there still something to come from?
            await self._broker.js.consumer_info(self._channel, self._name)
            return []

    def _settle(self, word: bytes, received: its.Received, indices: its.Indices = None) -> its.Settlements:
        with self._guard:
            found = Outcomes.of(received, indices, its.Outcome.ACKNOWLEDGED)
            try:
                self._broker.run(self._say([received.handle[row] for row in found.rows.tolist()], word))
            except Unreachable as error:
                found.tell(slice(None), its.Outcome.UNKNOWN, str(error))
            return found.settlements()

    async def _say(self, replies: list[str], word: bytes) -> None:
        """The broker takes them in the order of sending: its answer to the last is one to all."""
        for reply in replies[:-1]:
            await self._broker.nats.publish(reply, word)
        for reply in replies[-1:]:
            await self._broker.nats.request(reply, word, timeout=ANSWER_S)

    acknowledge = partialmethod(_settle, b"+ACK")
    release = partialmethod(_settle, b"-NAK")
    reject = partialmethod(_settle, b"+TERM")

    def close(self) -> None:
        if self._guard.close():
            self._broker.run(self._messages.unsubscribe())
