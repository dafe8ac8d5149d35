"""Kafka with a share group (KIP-932) in explicit mode: profile ``kafka-share``.

Each delivery is accepted, released or rejected by itself; the broker counts deliveries and takes an
unsettled one back when its lock ends. The settings of a share group (lock, delivery limit, dead
letters) are configuration of the *group*, and Kafka has no place for it on a topic: ``create_channel``
writes it as the configuration of ``<channel>:``, a group without members, and each consumer
copies it to its own group before it joins. So it holds for other processes too.

Two traits of the client shape ``receive``: ``poll`` may return more than was asked for (the broker
hands out whole record batches), so the rest waits here with its lock running; and ``poll`` is
refused until all of the previous one is settled, so ``receive`` raises Misuse until then.

So broker and client take turns, each waiting for the other. ``receive_and_acknowledge`` lets both work at once: it
waits for no answer, and a ``poll`` without a wait makes the client fetch in the background.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from contextlib import suppress

import numpy as np
from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import ResourceType  # type: ignore[attr-defined]

from brokerbench.brokers.contract import ThreadGuard, check_count
from brokerbench.brokers.declarations import ProfileDeclaration
from brokerbench.brokers.errors import BrokerError, Misuse, Refused, Unsupported
from brokerbench.brokers.kafka.admin import KafkaConnection, group_id
from brokerbench.brokers.kafka.client import (
    INTERRUPTIBLE_S,
    LOGGER,
    answer_of,
    client_config,
    close_quietly,
    kafka_error,
    outcome_of,
    reason,
    require_passing,
    translated,
)
from brokerbench.brokers.kafka.client_choice import new_share_consumer
from brokerbench.brokers.kafka.client_protocols import ACCEPT, REJECT, RELEASE, Part, Poll
from brokerbench.brokers.kafka.declarations import KAFKA_SHARE, MAX_POLL_RECORDS
from brokerbench.brokers.kafka.settings import declared
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
    Received,
    Settlements,
)

_COMMIT_TIMEOUT_S = 10.0
_LOOK_S = 0.001
"""Seconds between two looks for answers, while a caller waits for them."""
_GONE = "settled before, or its lock has ended"
_LOCK_MS = "share.record.lock.duration.ms"


class KafkaShareConsumer:
    """A member of the share group ``<channel>:<group>``.

    See ``brokerbench.brokers.protocols.Consumer``, ``Pipelining``, ``Releasable`` and ``Rejectable``. There is no
    ``extend``: Kafka 4.2 can renew a lock, this client cannot.
    """

    def __init__(self, endpoint: Endpoint, channel: str, settings: ConsumerSettings, lease_s: float) -> None:
        self._guard = ThreadGuard("the consumer")
        self._lease_s, self._details = lease_s, settings.details
        # Set by the first call that waits for no answer.
        self._pending: PendingAcknowledgements | None = None
        config = client_config(
            endpoint,
            client_id=settings.name,
            group_id=group_id(channel, settings.group),
            max_poll_records=MAX_POLL_RECORDS,
        )
        try:
            self._client = new_share_consumer(config, channel, LOGGER)
        except KafkaException as failure:
            raise translated(failure, f"join share group {settings.group}") from None
        # The last poll, and how many of its messages are handed out.
        self._poll: Poll = self._client.new_poll()
        self._handed = 0
        self._lease_ends = 0.0

    def receive(self, max_messages: int, wait_s: float) -> Received:
        """Raises Misuse while messages of the poll before are unsettled and their lock still holds."""
        with self._guard:
            rows = self._next(max_messages, wait_s)
            return self._poll.columns(rows, time.monotonic_ns(), self._details)

    def acknowledge(self, received: Received, indices: Indices = None) -> Settlements:
        return self._settle(received, indices, ACCEPT)

    def receive_and_acknowledge(self, max_messages: int, wait_s: float) -> Received:
        with self._guard:
            rows = self._next(max_messages, wait_s)
            received_ns, poll = time.monotonic_ns(), self._poll
            if rows.start == rows.stop:
                return Received.empty(received_ns)
            if self._pending is None:
                self._pending = PendingAcknowledgements()
                self._client.listen(self._pending.answered)
            gone, known = self._tell(poll, rows, ACCEPT)
            try:
                self._ask_for_more(rows.stop - rows.start)
                # The broker is at work now, so that the copying does not delay it.
                received = poll.columns(rows, received_ns, self._details)
            finally:
                if self._poll is not poll:
                    poll.free()
            outcomes = Outcomes.of(received, None)
            outcomes.tell(gone, Outcome.REJECTED, _GONE)
            self._pending.add(outcomes, known)
            return received

    def _ask_for_more(self, told: int) -> None:
        """Send the acknowledgements of ``told`` messages, and have the client fetch if they were the last."""
        # The caller must get the messages that came, whatever fails behind them: an error that lasts is raised by the
        # next call, and an acknowledgement that was not sent goes with the next one.
        with suppress(KafkaException):
            done = not self._poll.open.any()
            # Where more messages wait, the acknowledgements go with the request for these, which saves half of the
            # requests. Where none wait, that request, and with it the answer, would wait for the next message.
            if not done or told < MAX_POLL_RECORDS:
                self._client.commit_async()
            if done:
                self._poll, self._handed = self._client.new_poll(), 0
                self._fetch(0)

    def answers(self, timeout_s: float | None = None) -> list[Settlements]:
        with self._guard:
            self._client.raise_failure()
            if self._pending is None:
                return []
            if timeout_s is not None:
                deadline = time.monotonic() + timeout_s
                while self._pending.open and time.monotonic() < deadline:
                    self._client.commit_async()  # with nothing to commit it only looks for answers
                    self._client.raise_failure()
                    time.sleep(_LOOK_S)
            return self._pending.take(unanswered=timeout_s is not None)

    def release(self, received: Received, indices: Indices = None) -> Settlements:
        return self._settle(received, indices, RELEASE)

    def reject(self, received: Received, indices: Indices = None) -> Settlements:
        return self._settle(received, indices, REJECT)

    def close(self) -> None:
        """The broker takes back at once whatever is unsettled."""
        if self._guard.close():
            self._poll.free()
            close_quietly(self._client)

    def _next(self, max_messages: int, wait_s: float) -> slice:
        """The rows of the poll that are handed out now."""
        self._client.raise_failure()
        check_count(max_messages)
        if self._poll.open.any() and time.monotonic() > self._lease_ends:
            self._forget_expired()
        if self._handed == len(self._poll):
            if unsettled := np.count_nonzero(self._poll.open):
                raise Misuse(f"{unsettled} messages are unsettled; a share consumer takes no more until then")
            self._fill(wait_s)
        rows = slice(self._handed, min(self._handed + max_messages, len(self._poll)))
        self._handed = rows.stop
        return rows

    def _fill(self, wait_s: float) -> None:
        """Raises for an error, unless messages came along with it."""
        deadline = time.monotonic() + wait_s
        while True:
            if self._poll.seen:
                self._poll.free()
                self._poll, self._handed = self._client.new_poll(), 0
            try:
                self._fetch(min(INTERRUPTIBLE_S, max(0.0, deadline - time.monotonic())))
            except KafkaException as failure:
                error = kafka_error(failure)
                if error is not None and error.code() == KafkaError._STATE:
                    raise Misuse(f"receive: {reason(error)}") from None
                raise translated(failure, "receive") from None
            if len(self._poll):
                break
            require_passing(self._poll.errors)
            self._client.raise_failure()
            if time.monotonic() >= deadline:
                break

    def _fetch(self, wait_s: float) -> None:
        self._client.poll(self._poll, wait_s)
        self._lease_ends = time.monotonic() + self._lease_s

    def _forget_expired(self) -> None:
        """Release messages whose lock has ended: the broker has them back, and the client still waits for an answer."""
        rows = slice(0, len(self._poll))
        _, known = self._tell(self._poll, rows, RELEASE)
        self._expect(Outcomes.of(self._poll.columns(rows, 0, self._details), None), known)
        self._handed = len(self._poll)
        self._commit()

    def _settle(self, received: Received, indices: Indices, how: int) -> Settlements:
        with self._guard:
            self._client.raise_failure()
            outcomes = Outcomes.of(received, indices)
            if len(received) and not isinstance(received.handle, Part):
                raise Misuse("these messages were not received by a consumer of this profile")
            part = received.handle or Part(self._poll, 0)
            if part.poll is self._poll:
                gone, known = self._tell(part.poll, part.first + outcomes.rows, how)
            else:
                gone = known = np.arange(len(outcomes.rows))
            self._expect(outcomes, known)
            answers = self._commit()
            for partition, which in by_partition(outcomes.partitions):
                if partition in answers:
                    outcomes.tell(which, *answers[partition])
            outcomes.tell(gone, Outcome.REJECTED, _GONE)
            return outcomes.settlements()

    def _expect(self, outcomes: Outcomes, known: IntColumn) -> None:
        """The client reports each answer to its listener, also one that the caller has from ``commit_sync``."""
        if self._pending is not None:
            self._pending.add(outcomes, known, wanted=False)

    def _tell(self, poll: Poll, rows: slice | IntColumn, how: int) -> tuple[IntColumn, IntColumn]:
        """Tell the client, not yet the broker.

        Returns those that it did not take, and those about which no further answer will come: the former, and the
        ones that it had been told of before and had not sent yet.
        """
        still_open = poll.open[rows].copy()
        taken = self._client.acknowledge(poll, rows, how) == 0
        return np.flatnonzero(~taken), np.flatnonzero(~(taken & still_open))

    def _commit(self) -> dict[int, tuple[Outcome, str]]:
        """{partition: the broker's answer}; the broker takes or refuses a partition's part as a whole."""
        try:
            answers = self._client.commit_sync(_COMMIT_TIMEOUT_S)
        except KafkaException as failure:
            error = kafka_error(failure)
            if error is not None and outcome_of(error) is Outcome.UNKNOWN:
                return {}
            raise translated(failure, "acknowledge") from None
        return {partition: answer_of(refusal) for partition, refusal in answers.items()}


class KafkaShare(KafkaConnection):
    """Profile ``kafka-share``. Also ``Replayable`` and ``Bounded``: the topic is an ordinary log."""

    def declaration(self) -> ProfileDeclaration:
        return declared(KAFKA_SHARE, self.settings())

    def create_channel(self, spec: ChannelSpec) -> None:
        """With ``dead_letter``, its channel must exist; Kafka wants its name to begin with ``dlq.``."""
        wanted = _group_settings(spec)
        if spec.dead_letter is not None:
            self._accept_dead_letters(spec.dead_letter)
        self._admin.create_topic(spec)
        try:
            self._configure_group(group_id(spec.name, ""), wanted)
        except BrokerError:
            self._admin.delete_topic(spec.name)
            raise

    def _configure_group(self, group: str, settings: Mapping[str, str | None]) -> None:
        """Of a group of its own: named after a channel that this package created."""
        try:
            self._admin.configure(ResourceType.GROUP, group, settings)
        except Refused as refusal:
            raise Refused(
                f"{refusal}; the profile sets {', '.join(settings)} for its own groups: allow AlterConfigs and "
                "DescribeConfigs of them"
            ) from None

    def _accept_dead_letters(self, policy: DeadLetterPolicy) -> None:
        if not policy.channel.startswith("dlq."):
            raise Unsupported("dead letters", f"Kafka wants a name that begins with 'dlq.', not {policy.channel!r}")
        self._admin.partitions(policy.channel)
        self._admin.configure(ResourceType.TOPIC, policy.channel, {"errors.deadletterqueue.group.enable": "true"})

    def consumer(self, channel: str, settings: ConsumerSettings) -> KafkaShareConsumer:
        self._admin.partitions(channel)
        kept = self._admin.configuration(ResourceType.GROUP, group_id(channel, ""), only_own=True)
        group = group_id(channel, settings.group)
        # With Kafka's default, latest, a new group would miss the messages that are there already.
        self._configure_group(group, kept | {"share.auto.offset.reset": "earliest"})
        lease_s = int(self._admin.configuration(ResourceType.GROUP, group)[_LOCK_MS]) / 1000
        return self._opened.add(KafkaShareConsumer(self._endpoint, channel, settings, lease_s))


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
