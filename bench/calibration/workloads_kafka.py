"""Workloads on Kafka: its own performance tools, and plain loops of the same client library."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from datetime import datetime
from functools import partial

from brokerbench.bench.calibration import workloads_omb
from brokerbench.bench.calibration.fixture import CalibrationWorkload, Contender, Fixture, figure, own_publish
from brokerbench.bench.calibration.own_client import Sample
from brokerbench.bench.calibration.peers import kafka as kafka_loop
from brokerbench.bench.calibration.peers import kafka_share as share_loop
from brokerbench.bench.engines import prepare
from brokerbench.bench.errors import CheckFailed

_PARTITIONS = 3
_KAFKA = {
    "partitions": str(_PARTITIONS),
    "acks": "all, idempotent",
    "linger": f"{kafka_loop.LINGER_MS} ms",
    "batch": f"{kafka_loop.BATCH_BYTES} bytes",
    "compression": "none",
}
_BACKLOG_RATE = 500_000
_COMMIT_EVERY = 100
"""Batches a commit when a backlog is consumed: about nine commits a second (the tool: every 5 s)."""
_SHARE_RATE = 200_000


def publish(fixture: Fixture) -> Iterator[CalibrationWorkload]:
    tool = _java("ProducerPerformance")

    def perf_command(channel: str, warmup: int, messages: int) -> list[str]:
        properties = [
            f"bootstrap.servers={fixture.endpoint.address}",
            "acks=all",
            f"linger.ms={kafka_loop.LINGER_MS}",
            f"batch.size={kafka_loop.BATCH_BYTES}",
            "compression.type=none",
            f"buffer.memory={max(32 << 20, fixture.load.in_flight * fixture.load.size)}",
        ]
        numbers = ["--num-records", str(warmup + messages), "--warmup-records", str(warmup), "--throughput", "-1"]
        load = ["--record-size", str(fixture.load.size), "--key-distribution", "random", "--record-key-range", "1000"]
        return [*tool, "--topic", channel, *numbers, *load, "--command-property", *properties]

    def perf() -> Sample:
        messages = fixture.expected("perf", 60_000)
        with fixture.channel(_PARTITIONS) as channel:
            text = fixture.printed(fixture.start(perf_command(channel, messages, messages)))
        # The last line, of the messages after the warm-up: "300000 records sent, 86000.1 records/sec (84 MB/sec), ...".
        last = [line for line in text.splitlines() if "records sent" in line][-1]
        return fixture.remembered("perf", Sample(float(last.split("records/sec")[0].split(",")[-1])))

    def loop_command(channel: str) -> list[str]:
        options = {"batch": fixture.load.batch, "in_flight": fixture.load.in_flight}
        return fixture.module("kafka", "publish", channel, **options, warmup=fixture.warmup_s, seconds=fixture.seconds)

    loop = partial(fixture.loop_on_a_channel, _PARTITIONS, loop_command)
    peers = (
        Contender("kafka-producer-perf-test", shlex.join(perf_command("TOPIC", 0, 0)), perf),
        Contender("produce_batch loop", shlex.join(loop_command("TOPIC")), loop),
    )
    bars = {"kafka-producer-perf-test": 1.2}
    yield CalibrationWorkload("publish", _KAFKA, own_publish(fixture, _PARTITIONS), peers, bars)


def consume(fixture: Fixture) -> Iterator[CalibrationWorkload]:
    messages = int(_BACKLOG_RATE * fixture.seconds)
    warmup = messages // 4
    tool = _java("ConsumerPerformance")
    with fixture.channel(_PARTITIONS) as channel:
        fixture.own.fill(channel, messages + warmup)

        def perf_command(group: str) -> list[str]:
            address = ["--bootstrap-server", fixture.endpoint.address, "--topic", channel, "--group", group]
            show = ["--show-detailed-stats", "--reporting-interval", "50", "--hide-header", "--timeout", "10000"]
            return [*tool, *address, "--num-records", str(messages + warmup), *show]

        def perf() -> Sample:
            return _perf_rate(fixture.printed(fixture.start(perf_command(f"perf-{fixture.number()}"))), warmup)

        def loop_command(group: str) -> list[str]:
            load = {"batch": fixture.load.batch, "commit_every": _COMMIT_EVERY}
            return fixture.module("kafka", "consume", channel, group=group, **load, warmup=warmup, messages=messages)

        def loop() -> Sample:
            return fixture.loop(loop_command(f"loop-{fixture.number()}"))

        def own() -> Sample:
            return fixture.own.consume(channel, f"own-{fixture.number()}", warmup, messages, _COMMIT_EVERY)

        yield CalibrationWorkload(
            "consume",
            {
                "partitions": str(_PARTITIONS),
                "messages": f"{messages} after {warmup}",
                "commit": f"each {_COMMIT_EVERY * fixture.load.batch} messages (perf-test: every 5 s)",
            },
            Contender("brokerbench", fixture.own.describe("consume", _COMMIT_EVERY), own),
            (
                Contender("kafka-consumer-perf-test", shlex.join(perf_command("GROUP")), perf),
                Contender("consume loop", shlex.join(loop_command("GROUP")), loop),
            ),
            {"kafka-consumer-perf-test": 1.0},
        )


def both(fixture: Fixture) -> Iterator[CalibrationWorkload]:
    def commands(channel: str) -> tuple[list[str], list[str]]:
        load = {"batch": fixture.load.batch, "in_flight": fixture.load.in_flight}
        windows = {"warmup": fixture.warmup_s, "seconds": fixture.seconds}
        publish = fixture.module(
            "kafka", "publish", channel, **load, warmup=0, seconds=3 * fixture.warmup_s + fixture.seconds
        )
        return publish, fixture.module(
            "kafka", "consume", channel, **load, commit_every=fixture.load.acknowledge_every, **windows
        )

    def loops() -> Sample:
        with fixture.channel(_PARTITIONS) as channel:
            publishing, consuming = map(fixture.start, commands(channel))
            received = figure(fixture.printed(consuming))
            fixture.printed(publishing)
            return Sample(received.rate)

    def own() -> Sample:
        with fixture.channel(_PARTITIONS) as channel:
            return fixture.own.both(channel, fixture.warmup_s, fixture.seconds)

    peers = [Contender("two plain loops", " & ".join(map(shlex.join, commands("TOPIC"))), loops)]
    if (omb := workloads_omb.contender(fixture, _PARTITIONS)) is not None:
        peers.append(omb)
    yield CalibrationWorkload(
        "publish and consume at once",
        _KAFKA,
        Contender("brokerbench", f"{fixture.own.describe('produce')}; {fixture.own.describe('consume')}", own),
        peers,
        {workloads_omb.NAME: 1.2},
    )


def share(fixture: Fixture) -> Iterator[CalibrationWorkload]:
    messages = int(_SHARE_RATE * fixture.seconds)
    warmup = messages // 4
    with fixture.channel(_PARTITIONS) as channel:
        fixture.own.fill(channel, messages + warmup)

        def loop(name: str, *how: str) -> Contender:
            def command(group: str) -> list[str]:
                batch = min(fixture.load.batch, share_loop.MAX_POLL_RECORDS)
                options = {"group": group, "batch": batch, "warmup": warmup, "messages": messages}
                return [*fixture.module("kafka_share", "consume", channel, **options), *how]

            return Contender(
                name, shlex.join(command("GROUP")), lambda: fixture.loop(command(f"loop-{fixture.number()}"))
            )

        yield CalibrationWorkload(
            "consume and acknowledge",
            {"partitions": str(_PARTITIONS), "messages": f"{messages} after {warmup}"},
            Contender(
                "brokerbench",
                fixture.own.describe("consume"),
                lambda: fixture.own.consume(channel, f"own-{fixture.number()}", warmup, messages),
            ),
            (loop("ShareConsumer loop"), loop("the same, waiting for no answer", "--ahead")),
            {"ShareConsumer loop": 0.9},
        )


def _java(tool: str) -> list[str]:
    jars = f"{prepare.kafka()}/*:{prepare.kafka_tools()}/*"
    return [str(prepare.java()), "-Xmx1g", "-cp", jars, f"org.apache.kafka.tools.{tool}"]


def _perf_rate(text: str, warmup: int) -> Sample:
    """From rows "2026-01-31 12:00:00:000, thread, MB, MB/s, messages so far, ...": the rate after the warm-up."""
    rows = [line.split(", ") for line in text.splitlines() if line.count(",") >= 9]
    points = [(datetime.strptime(row[0], "%Y-%m-%d %H:%M:%S:%f"), int(row[4])) for row in rows]
    counted = [point for point in points if point[1] >= warmup]
    if len(counted) < 2:
        raise CheckFailed(f"kafka-consumer-perf-test told too little: {text[-300:]}")
    (begin, first), (end, last) = counted[0], counted[-1]
    return Sample((last - first) / (end - begin).total_seconds())
