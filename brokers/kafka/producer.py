"""Sending to one topic, with a delivery report for every message.

librdkafka chooses the partition as Java's default producer does: by murmur2 of the key; messages
without a key stick to one partition for a while (``sticky.partitioning.linger.ms``) and then move on.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence

import numpy as np
from confluent_kafka import KafkaError, KafkaException

from brokerbench.brokers.contract import ThreadGuard, check
from brokerbench.brokers.errors import Unsupported
from brokerbench.brokers.kafka.client import LOGGER, client_config, outcome_of, reason, translated
from brokerbench.brokers.kafka.client_choice import new_producer
from brokerbench.brokers.kafka.client_protocols import MESSAGE, Messages, ProducerClient
from brokerbench.brokers.kafka.declarations import BATCH_BYTES, MAX_REQUEST_BYTES
from brokerbench.brokers.rows import sizes_of
from brokerbench.brokers.types import (
    MAX_ERRORS,
    NO_PARTITION,
    NO_PLACE,
    Batch,
    Durability,
    Endpoint,
    IntColumn,
    Outcome,
    ProducerSettings,
    SendReceipt,
    Settlements,
    constant,
)


class DeliveryReports:
    """A message's number is its ticket."""

    def __init__(self) -> None:
        # Reports that came together, and when. Columns are made of all at once: short batches have many reports.
        self._reported: list[Messages] = []
        self._reported_ns: list[int] = []

    def reported(self, messages: Messages) -> None:
        """Take reports of the client, with the time of now."""
        self._reported.append(messages)
        self._reported_ns.append(time.monotonic_ns())

    def refused(self, refusals: Sequence[tuple[int, int]]) -> None:
        """(ticket, error) of messages that the client did not take, and so will not report."""
        if refusals:
            messages = np.zeros(len(refusals), MESSAGE)
            messages["number"], messages["error"] = zip(*refusals, strict=True)
            self.reported(messages)

    def take(self) -> Settlements:
        """All reports since the last call."""
        if not self._reported:
            return Settlements.empty()
        messages = np.concatenate(self._reported) if len(self._reported) > 1 else self._reported[0]
        settled_ns = np.repeat(np.array(self._reported_ns, np.int64), list(map(len, self._reported)))
        # New lists, as the columns that were returned must not grow.
        self._reported, self._reported_ns = [], []
        return _settlements(messages, settled_ns)


def _settlements(messages: Messages, settled_ns: IntColumn) -> Settlements:
    errors, places = messages["error"], messages["offset"].copy()
    partitions, tickets = messages["partition"].copy(), messages["number"].astype(np.int64)
    outcomes, texts = constant(Outcome.ACKNOWLEDGED, len(messages), np.int8), dict[int, str]()
    if np.count_nonzero(errors):
        failed = np.flatnonzero(errors)
        partitions[failed] = NO_PARTITION
        places[failed] = NO_PLACE
        for code in np.unique(errors[failed]).tolist():
            outcomes[errors == code] = outcome_of(KafkaError(code))
        texts = {int(tickets[row]): reason(KafkaError(int(errors[row]))) for row in failed[:MAX_ERRORS]}
    # The broker names no offset when it acknowledges a retry of a message that it had stored already.
    places[places < 0] = NO_PLACE
    return Settlements(tickets, outcomes, settled_ns, partitions, places, texts)


_CHUNK = 1_000
"""Messages handed to the client at a time; reports are taken between two chunks."""
_ROOM_S = 0.01
"""The longest wait for room in a full queue, in seconds, before the client is asked again."""
_REPORTS_S = 30.0
"""The longest wait at closing for the client's own reports, in seconds."""
_LINGER_S = 0.02
"""Seconds; longer than most messages linger."""


class KafkaProducer:
    """The producer of both Kafka profiles. See ``brokerbench.brokers.protocols.Producer``."""

    def __init__(
        self, endpoint: Endpoint, channel: str, settings: ProducerSettings, max_request_bytes: int = MAX_REQUEST_BYTES
    ) -> None:
        self._client = _client(endpoint, channel, settings, max_request_bytes)
        self._max_payload_bytes = max_request_bytes - BATCH_BYTES
        self._guard = ThreadGuard("the producer")
        self._next_ticket = self._in_flight = 0
        self._reports = DeliveryReports()

    def send(self, batch: Batch) -> SendReceipt:
        check(batch)
        if batch.dedup_ids is not None:
            raise Unsupported("dedup_ids", "the idempotent producer suppresses its own retries, never a second send")
        with self._guard:
            first_ticket, count = self._next_ticket, len(batch)
            self._next_ticket += count
            rejected = _too_large(batch, self._max_payload_bytes)
            self._reports.refused([(first_ticket + index, KafkaError.MSG_SIZE_TOO_LARGE) for index in rejected])
            for start, stop in _chunks(rejected, count):
                send = self._send_plain if batch.attributes is None else self._send_with_headers
                refused = send(batch, start, stop, first_ticket)
                self._reports.refused([(first_ticket + index, code) for index, code in refused])
                rejected += [index for index, _ in refused]
                if stop < count:
                    self._take_reports(0)
            return SendReceipt(first_ticket, count, tuple(sorted(rejected)))

    def poll(self) -> Settlements:
        with self._guard:
            self._take_reports(0)
            return self._reports.take()

    def flush(self, timeout_s: float) -> Settlements:
        with self._guard:
            self._await_reports(timeout_s)
            return self._reports.take()

    def close(self) -> Settlements:
        if not self._guard.close():
            return Settlements.empty()
        self._client.purge()
        # The client itself reports the messages that it purged: this waits for reports, and for no broker.
        self._await_reports(_REPORTS_S)
        self._client.close()
        return self._reports.take()

    def _take_reports(self, wait_s: float) -> bool:
        """Take the reports that are there, waiting for a first one. Says whether there were any."""
        arrived = False
        while len(reports := self._client.reports(0 if arrived else wait_s)):
            self._in_flight -= len(reports)
            self._reports.reported(reports)
            arrived = True
        return arrived

    def _await_reports(self, timeout_s: float) -> None:
        deadline = time.monotonic() + timeout_s
        while self._in_flight:
            wait_s = deadline - time.monotonic()
            arrived = self._take_reports(min(max(0.0, wait_s), _LINGER_S))
            if wait_s <= 0:
                break
            if not arrived:
                self._client.hurry()

    def _send_plain(self, batch: Batch, start: int, stop: int, first_ticket: int) -> list[tuple[int, int]]:
        """Send ``batch[start:stop]``. Returns (index, error) of each message that the client refused."""
        rejected = []
        while start < stop:
            part = slice(start, stop)
            keys = None if batch.keys is None else batch.keys[part]
            tickets = np.arange(first_ticket + start, first_ticket + stop)
            errors = self._client.produce(batch.payloads[part], keys, tickets)
            taken = stop - start
            if np.count_nonzero(errors):
                full = np.flatnonzero(errors == KafkaError._QUEUE_FULL)
                taken = int(full[0]) if len(full) else taken
                refused = np.flatnonzero(errors[:taken])
                rejected += [(start + int(at), int(errors[at])) for at in refused]
                self._in_flight -= len(refused)
            self._in_flight += taken
            start += taken
            if start < stop:
                self._take_reports(_ROOM_S)
        return rejected

    def _send_with_headers(self, batch: Batch, start: int, stop: int, first_ticket: int) -> list[tuple[int, int]]:
        assert batch.attributes is not None
        rejected = []
        for index in range(start, stop):
            key = None if batch.keys is None else batch.keys[index]
            headers, ticket = batch.attributes[index], first_ticket + index
            while (
                error := self._client.produce_with_headers(batch.payloads[index], key, headers, ticket)
            ) == KafkaError._QUEUE_FULL:
                self._take_reports(_ROOM_S)
            if error:
                rejected.append((index, error))
            else:
                self._in_flight += 1
        return rejected


def _client(endpoint: Endpoint, channel: str, settings: ProducerSettings, max_request_bytes: int) -> ProducerClient:
    safe = settings.durability is not Durability.RELAXED
    config = client_config(
        endpoint,
        acks="all" if safe else "1",
        enable_idempotence=safe,
        # More than five in flight and the broker can no longer tell a retry from a new message.
        max_in_flight_requests_per_connection=min(settings.concurrency, 5) if safe else settings.concurrency,
        message_timeout_ms=max(1, int(settings.timeout_s * 1000)),
        linger_ms=min(settings.linger_ms, settings.timeout_s * 500),
        batch_size=settings.batch_bytes,
        batch_num_messages=max(1, min(settings.max_in_flight, 1_000_000)),
        message_max_bytes=max_request_bytes,
        queue_buffering_max_messages=settings.max_in_flight,
        partitioner="murmur2_random",
    )
    try:
        return new_producer(config, channel, LOGGER)
    except KafkaException as failure:
        raise translated(failure, "create a producer") from None


def _too_large(batch: Batch, max_payload_bytes: int) -> list[int]:
    """Indices beyond the declared limit. The client would take some of these, and the broker refuse their batch."""
    too_large = sizes_of(batch.payloads) > max_payload_bytes
    return np.flatnonzero(too_large).tolist() if np.count_nonzero(too_large) else []


def _chunks(without: Sequence[int], count: int) -> Iterator[tuple[int, int]]:
    """Ranges of ``0..count`` without these indices, ``_CHUNK`` long at most."""
    begin = 0
    for end in (*without, count):
        for start in range(begin, end, _CHUNK):
            yield start, min(start + _CHUNK, end)
        begin = end + 1
