"""A cluster's settings bound the promises, and a setting that it does not tell bounds nothing."""

from __future__ import annotations

import socket
import struct
from concurrent.futures import ThreadPoolExecutor

import pytest

from brokerbench.bench.engines.catalogue import KAFKA as ENGINE
from brokerbench.brokers.declarations import NOT_TOLD, ProfileDeclaration, Support
from brokerbench.brokers.errors import Unreachable
from brokerbench.brokers.kafka.declarations import KAFKA, KAFKA_SHARE
from brokerbench.brokers.kafka.settings import NAMES, NOT_SET, declared, told
from brokerbench.brokers.kafka.version import kafka_version
from brokerbench.brokers.types import Endpoint

DEFAULTS = {
    "log.retention.check.interval.ms": "300000",
    "log.retention.ms": NOT_SET,
    "log.retention.minutes": NOT_SET,
    "log.retention.hours": "168",
    "log.retention.bytes": "-1",
    "message.max.bytes": "1048588",
    "unclean.leader.election.enable": "false",
    "group.share.min.record.lock.duration.ms": "15000",
    "group.share.max.record.lock.duration.ms": "60000",
}
"""Of Kafka 4.4."""
BOTH = pytest.mark.parametrize("base", [KAFKA, KAFKA_SHARE], ids=lambda base: base.profile)


@BOTH
def test_the_native_engine_has_the_settings_that_are_declared_offline(base: ProfileDeclaration) -> None:
    assert declared(base, DEFAULTS | {name: ENGINE.settings[name] for name in NAMES if name in ENGINE.settings}) == base


@BOTH
def test_the_defaults_of_kafka_remove_late(base: ProfileDeclaration) -> None:
    found = declared(base, DEFAULTS)
    overshoot = found.of("retention.overshoot")
    assert (overshoot.support, overshoot.low, overshoot.high) == (Support.GUARANTEED, 0.0, 1 + 300 + 3.5)
    assert found.limits.retention_lag_s == 304.5
    assert found.of("delivery.no_loss") == base.of("delivery.no_loss")
    assert found.limits.max_message_bytes == 1_048_500


def test_leases_are_those_of_the_cluster() -> None:
    limits = declared(KAFKA_SHARE, DEFAULTS).limits
    assert (limits.lease_min_s, limits.lease_max_s) == (15.0, 60.0)
    limits = declared(KAFKA, DEFAULTS).limits
    assert (limits.lease_min_s, limits.lease_max_s) == (None, None)


@BOTH
@pytest.mark.parametrize("settings", [{}, dict.fromkeys(NAMES, NOT_TOLD)], ids=["missing", "not told"])
def test_what_is_not_told_bounds_nothing(base: ProfileDeclaration, settings: dict[str, str]) -> None:
    found = declared(base, settings)
    for name in ("retention.overshoot", "retention.size_excess"):
        entry = found.of(name)
        assert (entry.support, entry.low, entry.high) == (Support.UNDECLARED, None, None)
        assert "log.retention.check.interval.ms" in entry.source
    assert found.limits.retention_lag_s is None
    if base is KAFKA_SHARE:
        assert (found.limits.lease_min_s, found.limits.lease_max_s) == (15.0, 60.0)


@pytest.mark.parametrize(("largest", "payload"), [("500000", 499_912), ("5000000", 1_048_500)])
def test_the_smaller_of_the_limits_of_broker_and_client_counts(largest: str, payload: int) -> None:
    limits = declared(KAFKA, DEFAULTS | {"message.max.bytes": largest}).limits
    assert limits.max_message_bytes == payload


@pytest.mark.parametrize(
    ("setting", "value", "reason"),
    [
        ("log.retention.ms", "60000", "older than 60 s"),
        ("log.retention.minutes", "5", "older than 300 s"),
        ("log.retention.hours", "2", "older than 7200 s"),
        ("log.retention.bytes", "1000000", "beyond 1,000,000 bytes"),
        ("unclean.leader.election.enable", "true", "unclean"),
    ],
)
def test_settings_that_permit_a_loss_promise_none(setting: str, value: str, reason: str) -> None:
    found = declared(KAFKA, DEFAULTS | {setting: value})
    for name in ("delivery.no_loss", "replay.complete"):
        assert found.of(name).support is Support.POSSIBLE
        assert reason in found.of(name).note


@pytest.mark.parametrize(("setting", "value"), [("log.retention.ms", "-1"), ("log.retention.ms", "86400000")])
def test_a_retention_that_no_run_reaches_takes_nothing_back(setting: str, value: str) -> None:
    assert declared(KAFKA, DEFAULTS | {setting: value}).of("delivery.no_loss").support is Support.GUARANTEED


def test_brokers_that_differ_tell_nothing() -> None:
    other = DEFAULTS | {"message.max.bytes": "7"}
    del other["log.retention.bytes"]
    found = told([DEFAULTS, other])
    assert set(found) == set(NAMES)
    assert {name for name in NAMES if found[name] == NOT_TOLD} == {"message.max.bytes", "log.retention.bytes"}
    assert set(told([{}]).values()) == {NOT_TOLD}
    assert told([DEFAULTS]) == DEFAULTS


def closed_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


def answer_once(listener: socket.socket) -> None:
    """One ApiVersions response without versions and features."""
    stream, _ = listener.accept()
    with stream:
        stream.recv(1000)
        body = struct.pack(">ih", 1, 0) + b"\x01" + struct.pack(">i", 0) + b"\x00"
        stream.sendall(struct.pack(">i", len(body)) + body)


@pytest.mark.parametrize("alive", ["first", "last"])
def test_any_bootstrap_server_tells_the_version(alive: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener, ThreadPoolExecutor(1) as beside:
        beside.submit(answer_once, listener)
        servers = [f"127.0.0.1:{listener.getsockname()[1]}", f"127.0.0.1:{closed_port()}"]
        address = ", ".join(servers if alive == "first" else reversed(servers))
        assert kafka_version(Endpoint("kafka", address)).startswith("Kafka before 3.7")


def test_when_no_server_answers_each_is_named() -> None:
    servers = [f"127.0.0.1:{closed_port()}", "no-such-host.invalid:9092"]
    with pytest.raises(Unreachable) as caught:
        kafka_version(Endpoint("kafka", ",".join(servers)))
    assert all(f"{server}: " in str(caught.value) for server in servers)
