"""Kafka with a consumer group and explicit commits: profile ``kafka``.

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

import numpy as np
from confluent_kafka import KafkaError, KafkaException

from brokerbench.brokers.contract import ThreadGuard
from brokerbench.brokers.declarations import ProfileDeclaration
from brokerbench.brokers.errors import Misuse, Unsupported
from brokerbench.brokers.kafka.admin import KafkaConnection, group_id
from brokerbench.brokers.kafka.client import (
    REQUEST_TIMEOUT_S,
    Call,
    answer_of,
    client_config,
    close_quietly,
    kafka_error,
    translated,
)
from brokerbench.brokers.kafka.declarations import KAFKA
from brokerbench.brokers.kafka.offsets import OffsetTracker
from brokerbench.brokers.kafka.reader import FETCH_AGAIN_MS, receive_within, started_consumer
from brokerbench.brokers.kafka.settings import declared
from brokerbench.brokers.settling import Outcomes, by_partition
from brokerbench.brokers.types import (
    ChannelSpec,
    ConsumerSettings,
    Endpoint,
    Indices,
    IntColumn,
    Outcome,
    Received,
    Settlements,
)

# Answers to a commit while the group rebalances; the same commit succeeds a moment later.
_REBALANCING = frozenset(
    {
        KafkaError.STALE_MEMBER_EPOCH,
        KafkaError.REBALANCE_IN_PROGRESS,
        KafkaError.COORDINATOR_LOAD_IN_PROGRESS,
        KafkaError.NOT_COORDINATOR,
    }
)
_REBALANCE_PATIENCE_S = 2.0
"""How long a commit is repeated while the group rebalances, in seconds."""

Delivered = dict[int, tuple[OffsetTracker, int]]
"""Handle of a ``Received``: {partition: (its offsets, the epoch of this delivery)}."""


class KafkaConsumer:
    """A member of the group ``<channel>:<group>``. See ``brokerbench.brokers.protocols.Consumer``, ``Releasable``."""

    def __init__(self, endpoint: Endpoint, channel: str, settings: ConsumerSettings) -> None:
        self._details = settings.details
        self._guard = ThreadGuard("the consumer")
        self._trackers: dict[int, OffsetTracker] = {}
        # A commit whose caller got UNKNOWN after the time-out. Until it ends, the client answers nothing else.
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
            self._client = started_consumer(config, channel, lambda client: client.subscribe(), self._revoked)
        except KafkaException as failure:
            raise translated(failure, f"join group {settings.group}") from None

    def receive(self, max_messages: int, wait_s: float) -> Received:
        with self._guard:
            if self._blocked(wait_s):
                return Received.empty(time.monotonic_ns())
            received = receive_within(self._client, max_messages, wait_s, self._details)
            for partition, rows in by_partition(received.partitions):
                tracker = self._trackers.setdefault(partition, OffsetTracker())
                tracker.delivered(received.places[rows])
                received.handle[partition] = (tracker, tracker.epoch)
            return received

    def acknowledge(self, received: Received, indices: Indices = None) -> Settlements:
        with self._guard:
            outcomes = Outcomes.of(received, indices)
            self._acknowledge([(outcomes, received)])
            return outcomes.settlements()

    def acknowledge_all(self, batches: Sequence[Received]) -> list[Settlements]:
        """All of them with one commit."""
        with self._guard:
            asked = [(Outcomes.of(received, None), received) for received in batches]
            self._acknowledge(asked)
            return [outcomes.settlements() for outcomes, _ in asked]

    def _acknowledge(self, asked: Sequence[tuple[Outcomes, Received]]) -> None:
        if self._blocked(REQUEST_TIMEOUT_S):
            return
        parts: dict[int, list[tuple[Outcomes, IntColumn]]] = {}
        for outcomes, received in asked:
            for partition, tracker, which in self._settleable(outcomes, received):
                done = outcomes.places[which] < tracker.acknowledged_to
                if done.any():
                    outcomes.tell(which[done], Outcome.ACKNOWLEDGED)
                    which = which[~done]
                if len(which):
                    parts.setdefault(partition, []).append((outcomes, which))
        # Mostly ascending already, which a stable sort sees at once.
        commits = {
            partition: np.sort(np.concatenate([outcomes.places[which] for outcomes, which in theirs]), kind="stable")
            for partition, theirs in parts.items()
        }
        for partition, places in commits.items():
            if not self._trackers[partition].covers_no_gap(places):
                raise Unsupported(
                    "acknowledge",
                    f"committing up to {places[-1]} on partition {partition} would cover "
                    "earlier deliveries that are not acknowledged",
                )
        ends = {partition: int(places[-1]) + 1 for partition, places in commits.items()}
        for partition, error in self._commit(ends).items():
            if error is None:
                self._trackers[partition].acknowledged(commits[partition])
            for outcomes, which in parts[partition]:
                outcomes.tell(which, *answer_of(error))

    def release(self, received: Received, indices: Indices = None) -> Settlements:
        with self._guard:
            outcomes = Outcomes.of(received, indices)
            if self._blocked(REQUEST_TIMEOUT_S):
                return outcomes.settlements()
            for partition, tracker, which in self._settleable(outcomes, received):
                done = outcomes.places[which] < tracker.acknowledged_to
                outcomes.tell(which[done], Outcome.REJECTED, "acknowledged before")
                which = which[~done]
                if not len(which):
                    continue
                first = int(outcomes.places[which].min())
                try:
                    self._client.seek(partition, first)
                except KafkaException as failure:
                    outcomes.tell(which, Outcome.REJECTED, str(translated(failure, "rewind")))
                    continue
                tracker.rewound(first)
                outcomes.tell(which, Outcome.ACKNOWLEDGED)
            return outcomes.settlements()

    def close(self) -> None:
        if self._guard.close():
            close_quietly(self._client)

    def _blocked(self, wait_s: float) -> bool:
        return self._commit_under_way is not None and not self._commit_under_way.ended(wait_s)

    def _revoked(self, partitions: Sequence[int]) -> None:
        for partition in partitions:
            tracker = self._trackers.pop(partition, None)
            if tracker is not None:
                tracker.lost = True

    def _settleable(self, outcomes: Outcomes, received: Received) -> list[tuple[int, OffsetTracker, IntColumn]]:
        """(partition, its offsets, which of ``outcomes``) for deliveries that this consumer may still settle."""
        handle: Delivered = received.handle or {}
        usable = []
        for partition, which in by_partition(outcomes.partitions):
            if partition not in handle:
                raise Misuse("these messages were not received by a consumer of this profile")
            tracker, epoch = handle[partition]
            if self._trackers.get(partition) is not tracker:
                outcomes.tell(which, Outcome.REJECTED, "the group gave this partition to another consumer")
                continue
            if tracker.epoch != epoch:
                valid = tracker.valid(outcomes.places[which], epoch)
                outcomes.tell(which[~valid], Outcome.REJECTED, "void: the partition was rewound by a release")
                which = which[valid]
            if len(which):
                usable.append((partition, tracker, which))
        return usable

    def _commit(self, ends: Mapping[int, int]) -> dict[int, KafkaError | None]:
        """Commit up to these offsets. {partition: the broker's answer}; a partition without an answer is left out.

        Repeats the commit while the group rebalances.
        """
        offsets = dict(ends)
        deadline = time.monotonic() + _REBALANCE_PATIENCE_S
        answers: dict[int, KafkaError | None] = {}
        while offsets:
            self._commit_under_way = Call(partial(self._client.commit, offsets))
            if not self._commit_under_way.ended(REQUEST_TIMEOUT_S):
                return {}
            try:
                answers |= self._commit_under_way.result()
            except KafkaException as failure:
                error = kafka_error(failure)
                if error is None:
                    raise translated(failure, "acknowledge") from None
                answers |= dict.fromkeys(offsets, error)
            offsets = {partition: end for partition, end in offsets.items() if _rebalancing(answers[partition])}
            if time.monotonic() > deadline:
                break
            if offsets:
                time.sleep(0.05)
        return answers


def _rebalancing(error: KafkaError | None) -> bool:
    return error is not None and error.code() in _REBALANCING


class Kafka(KafkaConnection):
    """Profile ``kafka``. Also ``Replayable``, ``Bounded`` and ``Counting``."""

    def declaration(self) -> ProfileDeclaration:
        return declared(KAFKA, self.settings())

    def create_channel(self, spec: ChannelSpec) -> None:
        """``lease_s`` has no meaning here: a delivery is hidden as long as its consumer is a member."""
        if spec.dead_letter is not None:
            raise Unsupported("dead letters", "a consumer group has no delivery count and no dead-letter topic")
        self._admin.create_topic(spec)

    def consumer(self, channel: str, settings: ConsumerSettings) -> KafkaConsumer:
        self._admin.partitions(channel)
        return self._opened.add(KafkaConsumer(self._endpoint, channel, settings))

    def backlog(self, channel: str, group: str) -> int:
        """Kept messages from the committed offset on, or from the beginning where none is committed."""
        low, high = self._admin.bounds(channel)
        committed = self._admin.committed(channel, group)
        return sum(
            end - max(low.places[partition], committed.get(partition, 0)) for partition, end in high.places.items()
        )
