"""Kafka under a consumer group, with explicit commits: profile ``kafka``.

A channel is a topic, a place is an offset, acknowledging is committing. A commit covers everything
before it on its partition, so that an acknowledgement which would silently cover an unsettled
delivery raises ``Unsupported``. ``release`` rewinds the partition to the released message: that one
and everything delivered after it come again (the adapter does this; Kafka has no release), and
older ``Received`` objects are void from there on.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Self

import numpy as np
from confluent_kafka import KafkaError, KafkaException

from brokerbench.brokers.declarations import ProfileDeclaration
from brokerbench.brokers.errors import Misuse, Unsupported
from brokerbench.brokers.kafka.admin import group_id
from brokerbench.brokers.kafka.client import (
    REQUEST_TIMEOUT_S,
    Call,
    OneThread,
    client_config,
    close_quietly,
    kafka_error,
    outcome_of,
    reason,
    translated,
)
from brokerbench.brokers.kafka.connection import KafkaConnection
from brokerbench.brokers.kafka.declarations import KAFKA
from brokerbench.brokers.kafka.librdkafka.consumer import ColumnConsumer
from brokerbench.brokers.kafka.offsets import OffsetTracker
from brokerbench.brokers.kafka.producer import KafkaProducer
from brokerbench.brokers.kafka.reader import FETCH_AGAIN_MS, KafkaReader, consumer, take
from brokerbench.brokers.settling import Outcomes, by_partition
from brokerbench.brokers.types import (
    ChannelSpec,
    ConsumerSettings,
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

# What a member hears while the group moves on; the same commit succeeds a moment later.
_GROUP_IS_MOVING = frozenset(
    {
        KafkaError.STALE_MEMBER_EPOCH,
        KafkaError.REBALANCE_IN_PROGRESS,
        KafkaError.COORDINATOR_LOAD_IN_PROGRESS,
        KafkaError.NOT_COORDINATOR,
    }
)
_GROUP_PATIENCE_S = 2.0

Delivered = dict[int, tuple[OffsetTracker, int]]
"""Handle of a ``Received``: partition -> (its progress, the epoch of this delivery)."""


class KafkaConsumer:
    """A member of the group ``<channel>:<group>``. See ``brokerbench.brokers.protocols.Consumer``, ``Releasable``."""

    def __init__(self, endpoint: Endpoint, channel: str, settings: ConsumerSettings) -> None:
        self._details = settings.details
        self._alone = OneThread("the consumer")
        self._progress: dict[int, OffsetTracker] = {}
        # Until it ends, the client answers nothing else; UNKNOWN was told to who waited for it.
        self._commit_under_way: Call[dict[int, KafkaError | None]] | None = None
        config = client_config(
            endpoint,
            client_id=settings.name,
            group_id=group_id(channel, settings.group),
            # KIP-848: the broker assigns; a first message after 0.2 s instead of 3 s.
            group_protocol=endpoint.options.get("group_protocol", "consumer"),
            auto_offset_reset="earliest",
            enable_auto_commit=False,
            enable_auto_offset_store=False,
            queued_max_messages_kbytes=max(1, settings.prefetch_bytes // 1024),
            fetch_queue_backoff_ms=FETCH_AGAIN_MS,
        )
        try:
            self._client: ColumnConsumer | None = consumer(config, channel, ColumnConsumer.subscribe, self._revoked)
        except KafkaException as failure:
            raise translated(failure, f"join group {settings.group}") from None

    def receive(self, max_messages: int, wait_s: float) -> Received:
        with self._alone:
            client = self._open()
            if self._blocked(wait_s):
                return Received.empty(time.monotonic_ns())
            received = take(client, max_messages, wait_s, self._details)
            for partition, rows in by_partition(received.partitions):
                progress = self._progress.setdefault(partition, OffsetTracker())
                progress.delivered(received.places[rows])
                received.handle[partition] = (progress, progress.epoch)
            return received

    def acknowledge(self, received: Received, indices: Indices = None) -> Settlements:
        with self._alone:
            client = self._open()
            fates = Outcomes.of(received, indices)
            self._acknowledge(client, [(fates, received)])
            return fates.settlements()

    def acknowledge_all(self, batches: Sequence[Received]) -> list[Settlements]:
        """All of them with one commit."""
        with self._alone:
            client = self._open()
            asked = [(Outcomes.of(received, None), received) for received in batches]
            self._acknowledge(client, asked)
            return [fates.settlements() for fates, _ in asked]

    def _acknowledge(self, client: ColumnConsumer, asked: Sequence[tuple[Outcomes, Received]]) -> None:
        if self._blocked(REQUEST_TIMEOUT_S):
            return
        parts: dict[int, list[tuple[Outcomes, IntColumn]]] = {}
        for fates, received in asked:
            for partition, progress, which in self._settleable(fates, received):
                done = fates.places[which] < progress.acknowledged_to
                if done.any():
                    fates.tell(which[done], Outcome.ACKNOWLEDGED)
                    which = which[~done]
                if len(which):
                    parts.setdefault(partition, []).append((fates, which))
        # Mostly ascending already, which a stable sort sees at once.
        commits = {
            partition: np.sort(np.concatenate([fates.places[which] for fates, which in theirs]), kind="stable")
            for partition, theirs in parts.items()
        }
        for partition, places in commits.items():
            if not self._progress[partition].covers_no_gap(places):
                raise Unsupported(
                    "acknowledge",
                    f"committing up to {places[-1]} on partition {partition} would cover "
                    "earlier deliveries that are not acknowledged",
                )
        ends = {partition: int(places[-1]) + 1 for partition, places in commits.items()}
        for partition, error in self._commit(client, ends).items():
            if error is None:
                self._progress[partition].acknowledged(commits[partition])
            for fates, which in parts[partition]:
                if error is None:
                    fates.tell(which, Outcome.ACKNOWLEDGED)
                else:
                    fates.tell(which, outcome_of(error), reason(error))

    def release(self, received: Received, indices: Indices = None) -> Settlements:
        with self._alone:
            client = self._open()
            fates = Outcomes.of(received, indices)
            if self._blocked(REQUEST_TIMEOUT_S):
                return fates.settlements()
            for partition, progress, which in self._settleable(fates, received):
                done = fates.places[which] < progress.acknowledged_to
                fates.tell(which[done], Outcome.REJECTED, "acknowledged before")
                which = which[~done]
                if not len(which):
                    continue
                first = int(fates.places[which].min())
                try:
                    client.seek(partition, first)
                except KafkaException as failure:
                    fates.tell(which, Outcome.REJECTED, str(translated(failure, "rewind")))
                    continue
                progress.rewound(first)
                fates.tell(which, Outcome.ACKNOWLEDGED)
            return fates.settlements()

    def close(self) -> None:
        with self._alone:
            if self._client is not None:
                client, self._client = self._client, None
                close_quietly(client)

    def _open(self) -> ColumnConsumer:
        if self._client is None:
            raise Misuse("the consumer is closed")
        return self._client

    def _blocked(self, wait_s: float) -> bool:
        return self._commit_under_way is not None and not self._commit_under_way.ended(wait_s)

    def _revoked(self, partitions: Sequence[int]) -> None:
        for partition in partitions:
            progress = self._progress.pop(partition, None)
            if progress is not None:
                progress.lost = True

    def _settleable(self, fates: Outcomes, received: Received) -> list[tuple[int, OffsetTracker, IntColumn]]:
        """(partition, its progress, which of ``fates``) for what this consumer may still settle."""
        handle: Delivered = received.handle or {}
        usable = []
        for partition, which in by_partition(fates.partitions):
            if partition not in handle:
                raise Misuse("these messages were not received by a consumer of this profile")
            progress, epoch = handle[partition]
            if self._progress.get(partition) is not progress:
                fates.tell(which, Outcome.REJECTED, "the group gave this partition to another consumer")
                continue
            if progress.epoch != epoch:
                valid = progress.valid(fates.places[which], epoch)
                fates.tell(which[~valid], Outcome.REJECTED, "void: the partition was rewound by a release")
                which = which[valid]
            if len(which):
                usable.append((partition, progress, which))
        return usable

    def _commit(self, client: ColumnConsumer, ends: Mapping[int, int]) -> dict[int, KafkaError | None]:
        """Commit up to these offsets. {partition: what the broker answered}; one without an answer is left out.

        With patience while the group moves on.
        """
        offsets = dict(ends)
        deadline = time.monotonic() + _GROUP_PATIENCE_S
        answers: dict[int, KafkaError | None] = {}
        while offsets:
            self._commit_under_way = Call(partial(client.commit, offsets))
            if not self._commit_under_way.ended(REQUEST_TIMEOUT_S):
                return {}
            try:
                answers |= self._commit_under_way.result()
            except KafkaException as failure:
                error = kafka_error(failure)
                if error is None:
                    raise translated(failure, "acknowledge") from None
                answers |= dict.fromkeys(offsets, error)
            offsets = {partition: end for partition, end in offsets.items() if _moving(answers[partition])}
            if time.monotonic() > deadline:
                break
            if offsets:
                time.sleep(0.05)
        return answers


def _moving(error: KafkaError | None) -> bool:
    return error is not None and error.code() in _GROUP_IS_MOVING


class Kafka:
    """Profile ``kafka``. Also ``Replayable``, ``Bounded`` and ``Counting``."""

    def __init__(self, connection: KafkaConnection) -> None:
        self._connection = connection
        self._admin = connection.admin

    @classmethod
    def connect(cls, endpoint: Endpoint) -> Self:
        return cls(KafkaConnection(endpoint))

    def declaration(self) -> ProfileDeclaration:
        return KAFKA

    def server_version(self) -> str:
        return self._connection.server_version()

    def create_channel(self, spec: ChannelSpec) -> None:
        """``lease_s`` has no meaning here: a delivery is hidden as long as its consumer is a member."""
        if spec.dead_letter is not None:
            raise Unsupported("dead letters", "a consumer group has no delivery count and no dead-letter topic")
        self._admin.create_topic(spec)

    def delete_channel(self, name: str) -> None:
        self._admin.delete_topic(name)

    def list_channels(self, prefix: str) -> list[str]:
        return [name for name in self._admin.topics() if name.startswith(prefix)]

    def producer(self, channel: str, settings: ProducerSettings) -> KafkaProducer:
        return self._connection.producer(channel, settings)

    def consumer(self, channel: str, settings: ConsumerSettings) -> KafkaConsumer:
        self._admin.partitions(channel)
        return self._connection.opened.add(KafkaConsumer(self._connection.endpoint, channel, settings))

    def reader(self, channel: str, start: ReplayStart) -> KafkaReader:
        return self._connection.reader(channel, start)

    def bounds(self, channel: str) -> tuple[Position, Position]:
        return self._admin.bounds(channel)

    def backlog(self, channel: str, group: str) -> int:
        """Kept messages from the committed offset on, or from the beginning where none is committed."""
        low, high = self._admin.bounds(channel)
        committed = self._admin.committed(channel, group)
        return sum(
            end - max(low.places[partition], committed.get(partition, 0)) for partition, end in high.places.items()
        )

    def close(self) -> None:
        self._connection.close()
