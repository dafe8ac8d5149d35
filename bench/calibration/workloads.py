"""Workloads of each profile, and how each contender does the work.

All contenders of a workload have the same channel settings, acks, batch, linger, compression (none), payload size and
keys; each measurement gets a channel of its own, or a group of its own on one backlog.
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


def _redis_publish(fixture: Fixture) -> Iterator[CalibrationWorkload]:
    peers = [
        _redis_loop(fixture, "redis-py pipeline", "pipeline"),
        _redis_loop(fixture, "pack_commands loop", "packed"),
    ]
    if program := shutil.which("redis-benchmark"):
        peers.insert(0, _redis_benchmark(fixture, program))
    yield CalibrationWorkload(
        "publish",
        {"streams": "1", "appendonly": "yes, everysec", "fields": "k (key), p (payload)"},
        own_publish(fixture, 1),
        peers,
        {"redis-benchmark": 0.8},
    )


def _redis_loop(fixture: Fixture, name: str, work: str) -> Contender:
    def command(channel: str) -> list[str]:
        windows = {"warmup": fixture.warmup_s, "seconds": fixture.seconds}
        return fixture.module("redis", work, f"{channel}:0", batch=fixture.load.batch, **windows)

    return Contender(name, shlex.join(command("CHANNEL")), lambda: fixture.loop_on_a_channel(1, command))


def _redis_benchmark(fixture: Fixture, program: str) -> Contender:
    address = urlsplit(fixture.endpoint.address)
    server = [program, "-h", str(address.hostname), "-p", str(address.port)]
    payload = "".join(random.Random(1).choices(string.ascii_letters + string.digits, k=fixture.load.size))

    def command(stream: str, messages: int, body: str) -> list[str]:
        load = ["-c", "4", "-P", "100", "-n", str(messages), "--csv"]
        return [*server, *load, "XADD", stream, "*", "k", "key-1", "p", body]

    def measure() -> Sample:
        with fixture.channel(1) as channel:
            messages = fixture.expected("redis-benchmark", 100_000)
            text = fixture.printed(fixture.start(command(f"{channel}:0", messages, payload)))
        # "test","rps","avg_latency_ms",...: the test's name holds the payload, and no quote.
        last = text.strip().splitlines()[-1]
        return fixture.remembered("redis-benchmark", Sample(float(last.split('","')[1])))

    shown = command("CHANNEL:0", 0, f"({fixture.load.size} random characters)")
    return Contender("redis-benchmark", shlex.join(shown), measure)


_SQS = {"requests at once": "8", "entries a request": "10"}
_PLAIN_SQS = "aiobotocore loop"
_SQS_BARS = {_PLAIN_SQS: 0.97}
_Command = Callable[[str], list[str]]
"""Channel -> words of the command."""


def _sqs_publish(fixture: Fixture) -> Iterator[CalibrationWorkload]:
    peers = _aiobotocore(fixture, "publish", lambda command: fixture.loop_on_a_channel(1, command))
    yield CalibrationWorkload("publish", _SQS, own_publish(fixture, 1), peers, _SQS_BARS, most_cpu=1.1)


def _sqs_consume(fixture: Fixture) -> Iterator[CalibrationWorkload]:
    enough = int((fixture.warmup_s + fixture.seconds) * 4000)

    def measure(command: _Command) -> Sample:
        with fixture.channel(1) as channel:
            fixture.own.fill(channel, enough)
            return fixture.loop(command(channel))

    def own() -> Sample:
        with fixture.channel(1) as channel:
            fixture.own.fill(channel, enough)
            return fixture.own.consume_for(channel, fixture.warmup_s, fixture.seconds)

    peers = _aiobotocore(fixture, "consume", measure)
    own_contender = Contender("brokerbench", fixture.own.describe("consume"), own)
    yield CalibrationWorkload("receive and delete", _SQS, own_contender, peers, _SQS_BARS, most_cpu=1.1)


def _aiobotocore(fixture: Fixture, work: str, measure: Callable[[_Command], Sample]) -> Sequence[Contender]:
    """The plain loop as one writes it, and one that keeps connections as the adapter does."""

    def loop(name: str, *how: str) -> Contender:
        def command(channel: str) -> list[str]:
            return [*fixture.module("sqs", work, channel, warmup=fixture.warmup_s, seconds=fixture.seconds), *how]

        return Contender(name, shlex.join(command("QUEUE")), lambda: measure(command))

    return loop(_PLAIN_SQS), loop("the same, keeping connections", "--keep-alive")


PROFILES: Mapping[str, Sequence[Callable[[Fixture], Iterator[CalibrationWorkload]]]] = {
    "kafka": (workloads_kafka.publish, workloads_kafka.consume, workloads_kafka.both),
    "kafka-share": (workloads_kafka.share,),
    "redis-streams": (_redis_publish,),
    "sqs-standard": (_sqs_publish, _sqs_consume),
}
"""Workloads of a profile. Each is opened (its backlog is made) when its turn comes, and ends when it is closed."""
