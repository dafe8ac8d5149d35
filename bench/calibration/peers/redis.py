"""Plain ``redis-py``: XADD in pipelines, or packed by hand (``pack_commands``) and written to one connection."""

from __future__ import annotations

import time
from argparse import Namespace
from collections.abc import Callable
from itertools import cycle, islice

from redis import Redis

from brokerbench.bench.calibration.peers.plain_loop import Figure, Stopwatch, arguments, keys, payloads, tell

Batch = list[tuple[bytes, bytes]]


def pipelined(client: Redis, stream: str) -> Callable[[Batch], None]:
    def send(batch: Batch) -> None:
        pipeline = client.pipeline(transaction=False)
        for key, body in batch:
            pipeline.xadd(stream, {b"k": key, b"p": body})
        pipeline.execute()

    return send


def packed(client: Redis, stream: str) -> Callable[[Batch], None]:
    connection = client.connection_pool.get_connection()

    def send(batch: Batch) -> None:
        commands = [(b"XADD", stream, b"*", b"k", key, b"p", body) for key, body in batch]
        connection.send_packed_command(connection.pack_commands(commands))  # type: ignore[no-untyped-call]
        for _ in batch:
            connection.read_response()

    return send


def publish(given: Namespace) -> Figure:
    client = Redis.from_url(given.address)
    send = {"pipeline": pipelined, "packed": packed}[given.work](client, given.channel)
    bodies, names = cycle(payloads(given.size)), cycle(keys())

    def send_until(end_s: float) -> int:
        count = 0
        while time.perf_counter() < end_s:
            send(list(zip(islice(names, given.batch), islice(bodies, given.batch), strict=True)))
            count += given.batch
        return count

    send_until(time.perf_counter() + given.warmup)
    clock = Stopwatch()
    return clock.figure(send_until(time.perf_counter() + given.seconds))


if __name__ == "__main__":
    tell(publish(arguments("redis", ("pipeline", "packed"))))
