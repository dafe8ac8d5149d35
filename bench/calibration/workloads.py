"""Which work is compared on each profile, and how each side is made to do it.

Both sides of a contest have the same channel settings, acks, batch, linger, compression (none), payload size and keys;
each measurement gets a channel of its own, or a group of its own on one backlog.
"""

from __future__ import annotations

import random
import shlex
import shutil
import string
from collections.abc import Callable, Iterator, Mapping, Sequence
from urllib.parse import urlsplit

from brokerbench.bench.calibration import workloads_kafka
from brokerbench.bench.calibration.fixture import CalibrationWorkload, Contender, Fixture, own_publish
from brokerbench.bench.calibration.own_client import Sample


def _redis_publish(ground: Fixture) -> Iterator[CalibrationWorkload]:
    peers = [_redis_loop(ground, "redis-py pipeline", "pipeline"), _redis_loop(ground, "pack_commands loop", "packed")]
    if program := shutil.which("redis-benchmark"):
        peers.insert(0, _redis_benchmark(ground, program))
    yield CalibrationWorkload(
        "publish",
        {"streams": "1", "appendonly": "yes, everysec", "fields": "k (key), p (payload)"},
        own_publish(ground, 1),
        peers,
        {"redis-benchmark": 0.8},
    )


def _redis_loop(ground: Fixture, name: str, work: str) -> Contender:
    def command(channel: str) -> list[str]:
        windows = {"warmup": ground.warmup_s, "seconds": ground.seconds}
        return ground.module("redis", work, f"{channel}:0", batch=ground.wanted.batch, **windows)

    def measure() -> Sample:
        with ground.channel(1) as channel:
            return ground.loop(command(channel))

    return Contender(name, shlex.join(command("CHANNEL")), measure)


def _redis_benchmark(ground: Fixture, program: str) -> Contender:
    address = urlsplit(ground.endpoint.address)
    server = [program, "-h", str(address.hostname), "-p", str(address.port)]
    payload = "".join(random.Random(1).choices(string.ascii_letters + string.digits, k=ground.wanted.size))

    def command(stream: str, messages: int, body: str) -> list[str]:
        load = ["-c", "4", "-P", "100", "-n", str(messages), "--csv"]
        return [*server, *load, "XADD", stream, "*", "k", "key-1", "p", body]

    def measure() -> Sample:
        with ground.channel(1) as channel:
            messages = ground.expected("redis-benchmark", 100_000)
            text = ground.printed(ground.start(command(f"{channel}:0", messages, payload)))
        # "test","rps","avg_latency_ms",...: the test's name holds the payload, and no quote.
        last = text.strip().splitlines()[-1]
        return ground.learnt("redis-benchmark", Sample(float(last.split('","')[1])))

    return Contender(
        "redis-benchmark", shlex.join(command("CHANNEL:0", 0, f"({ground.wanted.size} random characters)")), measure
    )


_SQS = {"requests at once": "8", "entries a request": "10"}
_PLAIN_SQS = "aiobotocore loop"
_SQS_BARS = {_PLAIN_SQS: 0.97}
_Command = Callable[[str], list[str]]
"""Channel -> what to run."""


def _sqs_publish(ground: Fixture) -> Iterator[CalibrationWorkload]:
    def measure(command: _Command) -> Sample:
        with ground.channel(1) as channel:
            return ground.loop(command(channel))

    peers = _aiobotocore(ground, "publish", measure)
    yield CalibrationWorkload("publish", _SQS, own_publish(ground, 1), peers, _SQS_BARS, most_cpu=1.1)


def _sqs_consume(ground: Fixture) -> Iterator[CalibrationWorkload]:
    enough = int((ground.warmup_s + ground.seconds) * 4000)

    def measure(command: _Command) -> Sample:
        with ground.channel(1) as channel:
            ground.own.fill(channel, enough)
            return ground.loop(command(channel))

    def own() -> Sample:
        with ground.channel(1) as channel:
            ground.own.fill(channel, enough)
            return ground.own.consume_for(channel, ground.warmup_s, ground.seconds)

    peers = _aiobotocore(ground, "consume", measure)
    own_side = Contender("brokerbench", ground.own.describe("consume"), own)
    yield CalibrationWorkload("receive and delete", _SQS, own_side, peers, _SQS_BARS, most_cpu=1.1)


def _aiobotocore(ground: Fixture, work: str, measure: Callable[[_Command], Sample]) -> Sequence[Contender]:
    """The plain loop as one writes it, and one that asks to keep connections as the adapter does."""

    def loop(name: str, *how: str) -> Contender:
        def command(channel: str) -> list[str]:
            return [*ground.module("sqs", work, channel, warmup=ground.warmup_s, seconds=ground.seconds), *how]

        return Contender(name, shlex.join(command("QUEUE")), lambda: measure(command))

    return loop(_PLAIN_SQS), loop("the same, keeping connections", "--keep-alive")


PROFILES: Mapping[str, Sequence[Callable[[Fixture], Iterator[CalibrationWorkload]]]] = {
    "kafka": (workloads_kafka.publish, workloads_kafka.consume, workloads_kafka.both),
    "kafka-share": (workloads_kafka.share,),
    "redis-streams": (_redis_publish,),
    "sqs-standard": (_sqs_publish, _sqs_consume),
}
"""The contests of a profile. Each is opened (its backlog made) when it is its turn, and ends when it is closed."""
