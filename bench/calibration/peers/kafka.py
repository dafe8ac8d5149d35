"""Plain ``confluent-kafka``: a ``produce_batch`` loop with delivery callbacks, a ``consume`` loop that commits."""

from __future__ import annotations

import time
from argparse import Namespace
from itertools import count, cycle, islice
from typing import Any

from confluent_kafka import Consumer, KafkaError, KafkaException, Producer

from brokerbench.bench.calibration.peers.plain_loop import Figure, Stopwatch, arguments, keys, payloads, tell

LINGER_MS = 5
BATCH_BYTES = 1_000_000


def publish(given: Namespace) -> Figure:
    producer = Producer(
        {
            "bootstrap.servers": given.address,
            "acks": "all",
            "enable.idempotence": True,
            "linger.ms": LINGER_MS,
            "batch.size": BATCH_BYTES,
            "batch.num.messages": given.in_flight,
            "queue.buffering.max.messages": given.in_flight,
            "partitioner": "murmur2_random",
            "socket.nagle.disable": True,
        }
    )
    bodies, names = cycle(payloads(given.size)), cycle(keys())
    acknowledged = 0

    def reported(error: Any, message: Any) -> None:
        nonlocal acknowledged
        if error is not None:
            raise RuntimeError(str(error))
        acknowledged += 1

    def send_until(end_s: float) -> None:
        while time.perf_counter() < end_s:
            batch: list[dict[str, Any]] = [
                {"value": body, "key": name, "callback": reported}
                for body, name in zip(islice(bodies, given.batch), islice(names, given.batch), strict=True)
            ]
            while producer.produce_batch(given.channel, batch) < len(batch):
                batch = [message for message in batch if message.pop("_error", None) is not None]
                producer.poll(0.01)
            producer.poll(0)
        producer.flush()

    send_until(time.perf_counter() + given.warmup)
    acknowledged = 0
    clock = Stopwatch()
    send_until(time.perf_counter() + given.seconds)
    return clock.figure(acknowledged)


def consume(given: Namespace) -> Figure:
    """Counts ``--messages`` after ``--warmup`` messages, or for ``--seconds`` after ``--warmup`` seconds."""
    consumer = Consumer(
        {
            "bootstrap.servers": given.address,
            "group.id": given.group,
            "group.protocol": "consumer",
            "auto.offset.reset": "earliest",
            "enable.auto.commit": False,
            "queued.max.messages.kbytes": 65_536,
            "fetch.queue.backoff.ms": 10,
            "socket.nagle.disable": True,
        }
    )
    consumer.subscribe([given.channel])
    batches = count(1)

    def take() -> int:
        messages = consumer.consume(1, 10.0)
        messages += consumer.consume(given.batch - 1, 0)
        found = sum(message.error() is None and bool(message.value()) for message in messages)
        if not found:
            raise RuntimeError("no message for 10 s")
        if not next(batches) % given.commit_every:
            _commit(consumer)
        return found

    taken = take()
    if given.seconds:
        end_s = time.perf_counter() + given.warmup
        while time.perf_counter() < end_s:
            take()
        clock, taken, end_s = Stopwatch(), 0, end_s + given.seconds
        while time.perf_counter() < end_s:
            taken += take()
    else:
        while taken < given.warmup:
            taken += take()
        clock, taken = Stopwatch(), 0
        while taken < given.messages:
            taken += take()
    _commit(consumer)
    return clock.figure(taken)


def _commit(consumer: Consumer) -> None:
    """Commit; the client raises an error when there is nothing to commit, which is none here."""
    try:
        consumer.commit(asynchronous=False)
    except KafkaException as failure:
        if failure.args[0].code() != KafkaError._NO_OFFSET:
            raise


if __name__ == "__main__":
    wanted = arguments("kafka", ("publish", "consume"))
    tell(publish(wanted) if wanted.work == "publish" else consume(wanted))
