"""OpenMessaging Benchmark as a peer, where it is built: ``BROKERBENCH_OMB`` names the directory of its jars.

Its jars are published nowhere, so nothing is fetched here. It runs for whole minutes: one a sample. Its first reports
(every 10 s) are its warm-up and are left out. It leaves its topics behind, some 20 GB each: they are deleted here.
"""

from __future__ import annotations

import json
import os
import shlex
import shutil
import time
from pathlib import Path

from brokerbench.bench.calibration.fixture import Contender, Fixture
from brokerbench.bench.calibration.own_client import Sample
from brokerbench.bench.calibration.peers import kafka as kafka_loop
from brokerbench.bench.engines import prepare
from brokerbench.bench.engines.base import tail
from brokerbench.bench.errors import BadInput, CheckFailed

JARS = "BROKERBENCH_OMB"
NAME = "OpenMessaging Benchmark"
_LONGEST_S = 180.0
_TOPICS = "test-topic-"
_NEEDED_BYTES = 32 << 30
"""Bytes of a minute at 400,000 messages of 1 KiB a second, and somewhat more."""
_WARMUP_REPORTS = 2
_DRIVER = """\
name: Kafka
driverClass: io.openmessaging.benchmark.driver.kafka.KafkaBenchmarkDriver
replicationFactor: 1
topicConfig: ""
commonConfig: |
  bootstrap.servers={address}
producerConfig: |
  acks=all
  linger.ms={linger_ms}
  batch.size={batch_bytes}
  buffer.memory={buffer_bytes}
  compression.type=none
consumerConfig: |
  auto.offset.reset=earliest
  enable.auto.commit=false
  max.partition.fetch.bytes=10485760
"""
_WORKLOAD = """\
name: publish and consume at once
topics: 1
partitionsPerTopic: {partitions}
keyDistributor: "RANDOM_NANO"
messageSize: {size}
payloadFile: "{payload}"
subscriptionsPerTopic: 1
consumerPerSubscription: 1
producersPerTopic: 1
producerRate: 10000000
consumerBacklogSizeGB: 0
warmupDurationMinutes: 0
testDurationMinutes: 1
"""


def contender(fixture: Fixture, partitions: int) -> Contender | None:
    """None where ``BROKERBENCH_OMB`` is not set. Raises BadInput where it names no jars."""
    named = os.environ.get(JARS)
    if not named:
        return None
    jars = Path(named).absolute()
    if not any(jars.glob("benchmark-framework*.jar")):
        raise BadInput(f"{JARS}={named}: no jar of benchmark-framework there")
    if (free := shutil.disk_usage(fixture.logs).free) < _NEEDED_BYTES:
        raise BadInput(
            f"{fixture.logs}: {free / 1e9:.0f} GB are free, a minute of {NAME} needs {_NEEDED_BYTES / 1e9:.0f} GB "
            f"(TMPDIR names another; without {JARS} it is left out)"
        )
    driver, workload, payload = (fixture.logs / f"omb-{name}" for name in ("driver.yaml", "workload.yaml", "payload"))
    payload.write_bytes(os.urandom(fixture.load.size))
    buffer_bytes = max(32 << 20, fixture.load.in_flight * fixture.load.size)
    driver.write_text(
        _DRIVER.format(
            address=fixture.endpoint.address,
            linger_ms=kafka_loop.LINGER_MS,
            batch_bytes=kafka_loop.BATCH_BYTES,
            buffer_bytes=buffer_bytes,
        )
    )
    workload.write_text(_WORKLOAD.format(partitions=partitions, size=fixture.load.size, payload=payload))

    def command(result: Path) -> list[str]:
        program = [str(prepare.java()), "-Xmx2g", "-cp", f"{jars}/*", "io.openmessaging.benchmark.Benchmark"]
        return [*program, "--drivers", str(driver), "--output", str(result), str(workload)]

    def measure() -> Sample:
        result = fixture.logs / f"omb-{fixture.number()}.json"
        before = set(fixture.broker.list_channels(_TOPICS))
        process, log = fixture.start(command(result))
        deadline = time.monotonic() + _LONGEST_S
        try:
            # Its threads outlive its work: the process does not end by itself.
            while time.monotonic() < deadline and process.poll() is None and not _written(result):
                time.sleep(0.2)
        finally:
            fixture.guard.kill(process)
            process.wait()
            for topic in set(fixture.broker.list_channels(_TOPICS)) - before:
                fixture.broker.delete_channel(topic)
        if not _written(result):
            raise CheckFailed(f"{NAME} left no result: {_first_error(log) or tail(log)}")
        return _rate(result)

    return Contender(NAME, shlex.join(command(Path("RESULT.json"))), measure)


def _first_error(log: Path) -> str:
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
    return next((line.strip() for line in lines if "ERROR" in line or "Exception" in line), "")


def _written(result: Path) -> bool:
    try:
        json.loads(result.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return True


def _rate(result: Path) -> Sample:
    """Messages received a second, the mean of its reports after the first."""
    reports = json.loads(result.read_text(encoding="utf-8"))["consumeRate"][_WARMUP_REPORTS:]
    if not reports:
        raise CheckFailed(f"{NAME} ended within its warm-up")
    return Sample(sum(reports) / len(reports))
