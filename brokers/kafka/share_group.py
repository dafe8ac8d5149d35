"""Kafka under a share group (KIP-932) in explicit mode: profile ``kafka-share``.

Each delivery is accepted, released or rejected by itself; the broker counts deliveries and takes an
unsettled one back when its lock ends. What a share group needs to know (lock, delivery limit, dead
letters) is configuration of the *group*, and Kafka has no place for it on a topic: ``create_channel``
writes it as the configuration of ``<channel>:``, a group that nobody joins, and each consumer
copies it to its own group before it joins. So it holds for other processes too.

Two traits of the client shape ``receive``: ``poll`` may return more than was asked for (the broker
hands out whole record batches), so the rest waits here with its lock running; and ``poll`` is
refused until all of the previous one is settled, so ``receive`` raises Misuse until then.

So broker and client take turns, each waiting for the other. ``receive_and_acknowledge`` lets both work: it waits for
no answer, and a ``poll`` that does not wait either has the client fetch in the background.
"""

from __future__ import annotations

import time
from contextlib import suppress
from typing import Self

import numpy as np
from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import ResourceType  # type: ignore[attr-defined]

from brokerbench.brokers.contract import check_count
from brokerbench.brokers.declarations import ProfileDeclaration
from brokerbench.brokers.errors import BrokerError, Misuse, Unsupported
from brokerbench.brokers.kafka.admin import group_id
from brokerbench.brokers.kafka.client import (
    INTERRUPTIBLE_S,
    LOGGER,
    OneThread,
    client_config,
    close_quietly,
    kafka_error,
    outcome_of,
    reason,
    require_passing,
    translated,
)
from brokerbench.brokers.kafka.connection import KafkaConnection
from brokerbench.brokers.kafka.declarations import KAFKA_SHARE, MAX_POLL_RECORDS
from brokerbench.brokers.kafka.librdkafka.share_consumer import (
    ACCEPT,
    REJECT,
    RELEASE,
    ColumnShareConsumer,
    Part,
    Polled,
)
from brokerbench.brokers.kafka.producer import KafkaProducer
from brokerbench.brokers.kafka.reader import KafkaReader
from brokerbench.brokers.kafka.share_acknowledgements import PendingAcknowledgements
from brokerbench.brokers.settling import Outcomes, by_partition
from brokerbench.brokers.types import (
    ChannelSpec,
    ConsumerSettings,
    DeadLetterPolicy,
    Endpoint,
    Indices,
    IntColumn,
    Outcome,
    Position,
    ProducerSettings,
    Received,
    ReplayStart,
    Settlements,
)

_COMMIT_TIMEOUT_S = 10.0
_LOOK_S = 0.001
"""How often somebody who waits for answers looks for them."""
_GONE = "settled before, or its lock has ended"
_LOCK_MS = "share.record.lock.duration.ms"


class KafkaShareConsumer:
    """A member of the share group ``<channel>:<group>``.

    See ``brokerbench.brokers.protocols.Consumer``, ``Pipelining``, ``Releasable`` and ``Rejectable``. There is no
    ``extend``: Kafka 4.2 can renew a lock, this client cannot.
    """

    def __init__(self, endpoint: Endpoint, channel: str, settings: ConsumerSettings, lease_s: float) -> None:
        self._alone = OneThread("the consumer")
        self._lease_s, self._details = lease_s, settings.details
        # The last poll, and how many of it are handed out.
        self._polled, self._handed = Polled(), 0
        self._lease_ends = 0.0
        # From the first that waits for no answer on.
        self._commits: PendingAcknowledgements | None = None
        config = client_config(
            endpoint,
            client_id=settings.name,
            group_id=group_id(channel, settings.group),
            max_poll_records=MAX_POLL_RECORDS,
        )
        try:
            self._client: ColumnShareConsumer | None = ColumnShareConsumer(config, channel, LOGGER)
        except KafkaException as failure:
            raise translated(failure, f"join share group {settings.group}") from None

    def receive(self, max_messages: int, wait_s: float) -> Received:
        """Raises Misuse while messages of the poll before are unsettled and their lock still holds."""
        with self._alone:
            rows = self._next(self._open(), max_messages, wait_s)
            return self._polled.columns(rows, time.monotonic_ns(), self._details)

    def acknowledge(self, received: Received, indices: Indices = None) -> Settlements:
        return self._settle(received, indices, ACCEPT)

    def receive_and_acknowledge(self, max_messages: int, wait_s: float) -> Received:
        with self._alone:
            client = self._open()
            rows = self._next(client, max_messages, wait_s)
            received_ns, polled = time.monotonic_ns(), self._polled
            if rows.start == rows.stop:
                return Received.empty(received_ns)
            if self._commits is None:
                self._commits = PendingAcknowledgements()
                client.listen(self._commits.answered)
            gone, known = self._tell(client, polled, rows, ACCEPT)
            try:
                self._ask_for_more(client, rows.stop - rows.start)
                # The broker is at work now: so all that is not needed before comes after.
                received = polled.columns(rows, received_ns, self._details)
            finally:
                if self._polled is not polled:
                    polled.free()
            fates = Outcomes.of(received, None)
            fates.tell(gone, Outcome.REJECTED, _GONE)
            self._commits.add(fates, known)
            return received

    def _ask_for_more(self, client: ColumnShareConsumer, told: int) -> None:
        """Send the acknowledgements of so many, and have the client fetch if they were the last."""
        # Whoever asked must learn what came, whatever goes wrong behind it: an error that lasts is raised by the
        # next call, and an acknowledgement that was not sent goes with the next one.
        with suppress(KafkaException):
            done = not self._polled.open.any()
            # Where more is waiting, they go with the request for it, and half the requests are saved. Where nothing
            # is, that request, and with it the answer, waits for the next message.
            if not done or told < MAX_POLL_RECORDS:
                client.commit_async()
            if done:
                self._polled, self._handed = Polled(), 0
                self._fetch(client, 0)

    def answers(self, timeout_s: float | None = None) -> list[Settlements]:
        with self._alone:
            client = self._open()
            if self._commits is None:
                return []
            if timeout_s is not None:
                deadline = time.monotonic() + timeout_s
                while self._commits.open and time.monotonic() < deadline:
                    client.commit_async()  # with nothing to commit it only looks for answers
                    client.raise_failure()
                    time.sleep(_LOOK_S)
            return self._commits.take(unanswered=timeout_s is not None)

    def release(self, received: Received, indices: Indices = None) -> Settlements:
        return self._settle(received, indices, RELEASE)

    def reject(self, received: Received, indices: Indices = None) -> Settlements:
        return self._settle(received, indices, REJECT)

    def close(self) -> None:
        """The broker takes back at once whatever is unsettled."""
        with self._alone:
            if self._client is not None:
                client, self._client = self._client, None
                self._polled.free()
                close_quietly(client)

    def _open(self) -> ColumnShareConsumer:
        if self._client is None:
            raise Misuse("the consumer is closed")
        self._client.raise_failure()
        return self._client

    def _next(self, client: ColumnShareConsumer, max_messages: int, wait_s: float) -> slice:
        """Which of ``_polled`` are handed out now."""
        check_count(max_messages)
        if self._polled.open.any() and time.monotonic() > self._lease_ends:
            self._forget_expired(client)
        if self._handed == len(self._polled):
            if unsettled := np.count_nonzero(self._polled.open):
                raise Misuse(f"{unsettled} messages are unsettled; a share consumer takes no more until then")
            self._poll(client, wait_s)
        rows = slice(self._handed, min(self._handed + max_messages, len(self._polled)))
        self._handed = rows.stop
        return rows

    def _poll(self, client: ColumnShareConsumer, wait_s: float) -> None:
        """Raises for an error, unless messages came along with it."""
        deadline = time.monotonic() + wait_s
        while True:
            if self._polled.seen:
                self._polled.free()
                self._polled, self._handed = Polled(), 0
            try:
                self._fetch(client, min(INTERRUPTIBLE_S, max(0.0, deadline - time.monotonic())))
            except KafkaException as failure:
                error = kafka_error(failure)
                if error is not None and error.code() == KafkaError._STATE:
                    raise Misuse(f"receive: {reason(error)}") from None
                raise translated(failure, "receive") from None
            if len(self._polled):
                break
            require_passing(self._polled.errors)
            client.raise_failure()
            if time.monotonic() >= deadline:
                break

    def _fetch(self, client: ColumnShareConsumer, wait_s: float) -> None:
        client.poll(self._polled, wait_s)
        self._lease_ends = time.monotonic() + self._lease_s

    def _forget_expired(self, client: ColumnShareConsumer) -> None:
        """The broker has taken these back; only the client still waits for an answer about them."""
        rows = slice(0, len(self._polled))
        _, known = self._tell(client, self._polled, rows, RELEASE)
        self._expect(Outcomes.of(self._polled.columns(rows, 0, self._details), None), known)
        self._handed = len(self._polled)
        self._commit(client)

    def _settle(self, received: Received, indices: Indices, how: int) -> Settlements:
        with self._alone:
            client = self._open()
            fates = Outcomes.of(received, indices)
            if len(received) and not isinstance(received.handle, Part):
                raise Misuse("these messages were not received by a consumer of this profile")
            part = received.handle or Part(self._polled, 0)
            if part.polled is self._polled:
                gone, known = self._tell(client, part.polled, part.first + fates.rows, how)
            else:
                gone = known = np.arange(len(fates.rows))
            self._expect(fates, known)
            answers = self._commit(client)
            for partition, which in by_partition(fates.partitions):
                if partition in answers:
                    fates.tell(which, *answers[partition])
            fates.tell(gone, Outcome.REJECTED, _GONE)
            return fates.settlements()

    def _expect(self, fates: Outcomes, known: IntColumn) -> None:
        """The client tells whoever listens of all, also of what he has an answer about from elsewhere."""
        if self._commits is not None:
            self._commits.add(fates, known, wanted=False)

    def _tell(
        self, client: ColumnShareConsumer, polled: Polled, rows: slice | IntColumn, how: int
    ) -> tuple[IntColumn, IntColumn]:
        """Tell the client, not yet the broker.

        Returns which of them it did not take, and of which no further answer will come: these, and what it had been
        told before and not sent yet.
        """
        still_open = polled.open[rows].copy()
        taken = client.acknowledge(polled, rows, how) == 0
        return np.flatnonzero(~taken), np.flatnonzero(~(taken & still_open))

    def _commit(self, client: ColumnShareConsumer) -> dict[int, tuple[Outcome, str]]:
        """{partition: what the broker answered}; it takes or refuses a partition's part as a whole."""
        try:
            answers = client.commit_sync(_COMMIT_TIMEOUT_S)
        except KafkaException as failure:
            error = kafka_error(failure)
            if error is not None and outcome_of(error) is Outcome.UNKNOWN:
                return {}
            raise translated(failure, "acknowledge") from None
        return {
            partition: (Outcome.ACKNOWLEDGED, "") if refusal is None else (outcome_of(refusal), reason(refusal))
            for partition, refusal in answers.items()
        }


class KafkaShare:
    """Profile ``kafka-share``. Also ``Replayable`` and ``Bounded``: the topic is an ordinary log."""

    def __init__(self, connection: KafkaConnection) -> None:
        self._connection = connection
        self._admin = connection.admin

    @classmethod
    def connect(cls, endpoint: Endpoint) -> Self:
        return cls(KafkaConnection(endpoint))

    def declaration(self) -> ProfileDeclaration:
        return KAFKA_SHARE

    def server_version(self) -> str:
        return self._connection.server_version()

    def create_channel(self, spec: ChannelSpec) -> None:
        """With ``dead_letter``, its channel must exist; Kafka wants its name to begin with ``dlq.``."""
        wanted = _group_settings(spec)
        if spec.dead_letter is not None:
            self._accept_dead_letters(spec.dead_letter)
        self._admin.create_topic(spec)
        try:
            self._admin.configure(ResourceType.GROUP, group_id(spec.name, ""), wanted)
        except BrokerError:
            self._admin.delete_topic(spec.name)
            raise

    def _accept_dead_letters(self, policy: DeadLetterPolicy) -> None:
        if not policy.channel.startswith("dlq."):
            raise Unsupported("dead letters", f"Kafka wants a name that begins with 'dlq.', not {policy.channel!r}")
        self._admin.partitions(policy.channel)
        self._admin.configure(ResourceType.TOPIC, policy.channel, {"errors.deadletterqueue.group.enable": "true"})

    def delete_channel(self, name: str) -> None:
        self._admin.delete_topic(name)

    def list_channels(self, prefix: str) -> list[str]:
        return [name for name in self._admin.topics() if name.startswith(prefix)]

    def producer(self, channel: str, settings: ProducerSettings) -> KafkaProducer:
        return self._connection.producer(channel, settings)

    def consumer(self, channel: str, settings: ConsumerSettings) -> KafkaShareConsumer:
        self._admin.partitions(channel)
        kept = self._admin.configuration(ResourceType.GROUP, group_id(channel, ""), only_own=True)
        group = group_id(channel, settings.group)
        # Kafka's default is latest: a new group would miss what is there already.
        self._admin.configure(ResourceType.GROUP, group, kept | {"share.auto.offset.reset": "earliest"})
        lease_s = int(self._admin.configuration(ResourceType.GROUP, group)[_LOCK_MS]) / 1000
        return self._connection.opened.add(KafkaShareConsumer(self._connection.endpoint, channel, settings, lease_s))

    def reader(self, channel: str, start: ReplayStart) -> KafkaReader:
        """A plain consumer outside the share group, which itself has no seek."""
        return self._connection.reader(channel, start)

    def bounds(self, channel: str) -> tuple[Position, Position]:
        return self._admin.bounds(channel)

    def close(self) -> None:
        self._connection.close()


def _group_settings(spec: ChannelSpec) -> dict[str, str | None]:
    settings: dict[str, str | None] = {_LOCK_MS: str(int(spec.lease_s * 1000))}
    if spec.dead_letter is not None:
        settings |= {
            "share.delivery.count.limit": str(spec.dead_letter.max_deliveries),
            "errors.deadletterqueue.topic.name": spec.dead_letter.channel,
            # Without this the dead letter has headers and no payload.
            "errors.deadletterqueue.copy.record.enable": "true",
        }
    return settings
