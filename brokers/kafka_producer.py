"""Sending to one topic with ``produce_batch`` and a delivery report for every message.

How a report knows its message: ``kafka_reports``.

The partition is chosen by librdkafka, as Java's default producer does it: murmur2 of the key;
messages without a key stick to one partition for a while (``sticky.partitioning.linger.ms``) and
then move on.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from confluent_kafka import KafkaError, KafkaException
from confluent_kafka import Producer as Client

from brokers.errors import Misuse, Unsupported
from brokers.kafka_client import OneThread, client_config, translated
from brokers.kafka_declarations import MAX_PAYLOAD_BYTES
from brokers.kafka_reports import Reports
from brokers.types import Batch, Durability, Endpoint, ProducerSettings, SendReceipt, Settlements

MAX_MESSAGE_BYTES = 1_048_588
"""Kafka's default ``message.max.bytes``: one record batch, with its header of about 70 bytes."""

_CHUNK = 1_000
_REPORTS_S = 30.0


class KafkaProducer:
    """Both Kafka profiles send through this. See ``brokers.protocols.Producer``."""

    def __init__(self, endpoint: Endpoint, channel: str, settings: ProducerSettings) -> None:
        self._channel = channel
        self._client: Client | None = _client(endpoint, settings)
        self._alone = OneThread("the producer")
        self._next_ticket = 0
        self._reports = Reports()

    def send(self, batch: Batch) -> SendReceipt:
        _check(batch)
        if batch.dedup_ids is not None:
            raise Unsupported("dedup_ids", "the idempotent producer suppresses its own retries, never a second send")
        with self._alone:
            client = self._open()
            first_ticket, count = self._next_ticket, len(batch)
            self._next_ticket += count
            too_large = _too_large(batch)
            rejected = list(too_large)
            for index in too_large:
                self._reports.refused(first_ticket + index, KafkaError(KafkaError.MSG_SIZE_TOO_LARGE))
            for start, stop in _chunks(too_large, count):
                if batch.attributes is None:
                    refused = self._send_plain(client, batch, start, stop, first_ticket)
                else:
                    refused = self._send_with_headers(client, batch, start, stop, first_ticket)
                rejected.extend(refused)
                if stop < count:
                    client.poll(0)
            return SendReceipt(first_ticket, count, tuple(sorted(rejected)))

    def poll(self) -> Settlements:
        with self._alone:
            self._open().poll(0)
            return self._reports.take()

    def flush(self, timeout_s: float) -> Settlements:
        with self._alone:
            self._open().flush(timeout_s)
            return self._reports.take()

    def close(self) -> Settlements:
        with self._alone:
            if self._client is None:
                return Settlements.empty()
            client, self._client = self._client, None
            client.purge(in_queue=True, in_flight=True)
            # What was purged is reported by the client alone: this waits for no broker, only for reports.
            client.flush(_REPORTS_S)
            client.close()
            return self._reports.take()

    def _open(self) -> Client:
        if self._client is None:
            raise Misuse("the producer is closed")
        return self._client

    def _send_plain(self, client: Client, batch: Batch, start: int, stop: int, first_ticket: int) -> list[int]:
        """Send ``batch[start:stop]``; return the indices that the client refused."""
        callbacks = self._reports.callbacks(first_ticket + start, stop - start)
        payloads = batch.payloads[start:stop]
        waiting: list[dict[str, Any]]
        if batch.keys is None:
            waiting = [
                {"value": payload, "callback": callback} for payload, callback in zip(payloads, callbacks, strict=True)
            ]
        else:
            keys = batch.keys[start:stop]
            waiting = [
                {"value": payload, "key": key, "callback": callback}
                for payload, key, callback in zip(payloads, keys, callbacks, strict=True)
            ]
        rejected = []
        while client.produce_batch(self._channel, waiting) < len(waiting):
            # Refused ones are marked in place, at any index. A full queue refuses everything behind
            # it too (rd_kafka_produce_batch), so that sending the rest again keeps the order.
            room_needed = []
            for message in waiting:
                error: KafkaError | None = message.pop("_error", None)
                if error is None:
                    continue
                if error.code() == KafkaError._QUEUE_FULL:
                    room_needed.append(message)
                else:
                    message["callback"](error, None)
                    rejected.append(start + callbacks.index(message["callback"]))
            if not room_needed:
                break
            waiting = room_needed
            client.poll(0.01)
        return rejected

    def _send_with_headers(self, client: Client, batch: Batch, start: int, stop: int, first_ticket: int) -> list[int]:
        """The slow path: ``produce_batch`` drops headers in silence, ``produce`` carries them."""
        assert batch.attributes is not None
        rejected = []
        callbacks = self._reports.callbacks(first_ticket + start, stop - start)
        for index, callback in zip(range(start, stop), callbacks, strict=True):
            while True:
                try:
                    client.produce(
                        self._channel,
                        value=batch.payloads[index],
                        key=None if batch.keys is None else batch.keys[index],
                        headers=dict(batch.attributes[index]),
                        on_delivery=callback,
                    )
                    break
                except BufferError:
                    client.poll(0.01)
                except KafkaException as failure:
                    callback(failure.args[0], None)
                    rejected.append(index)
                    break
        return rejected


def _client(endpoint: Endpoint, settings: ProducerSettings) -> Client:
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
        message_max_bytes=MAX_MESSAGE_BYTES,
        queue_buffering_max_messages=settings.max_in_flight,
        partitioner="murmur2_random",
    )
    try:
        return Client(config)
    except KafkaException as failure:
        raise translated(failure, "create a producer") from None


def _too_large(batch: Batch) -> list[int]:
    """Indices beyond the declared limit: what the client would still take, the broker would refuse a batch later."""
    if max(map(len, batch.payloads), default=0) <= MAX_PAYLOAD_BYTES:
        return []
    return [index for index, payload in enumerate(batch.payloads) if len(payload) > MAX_PAYLOAD_BYTES]


def _chunks(without: Sequence[int], count: int) -> Iterator[tuple[int, int]]:
    """Ranges of ``0..count`` that leave these out."""
    begin = 0
    for end in (*without, count):
        for start in range(begin, end, _CHUNK):
            yield start, min(start + _CHUNK, end)
        begin = end + 1


def _check(batch: Batch) -> None:
    count = len(batch.payloads)
    columns: tuple[Sequence[Any] | None, ...] = (batch.keys, batch.dedup_ids, batch.attributes)
    if any(column is not None and len(column) != count for column in columns):
        raise Misuse("the columns of a batch differ in length")
