"""Endpoints from the environment: accepted and refused values, hidden secrets, removed channels."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable

import pytest

from brokerbench.bench.engines import external
from brokerbench.bench.engines.catalogue import ENGINES, KAFKA, LOCALSTACK, REDIS
from brokerbench.bench.errors import BadInput, EngineUnavailable
from brokerbench.brokers import registry
from brokerbench.brokers.types import ChannelSpec, Endpoint
from brokerbench.scenarios.verdicts import Grade

SECRET = "s3cr3t"


@pytest.fixture(autouse=True)
def bare(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in os.environ:
        if name.startswith(("BROKERBENCH_", "AWS_")):
            monkeypatch.delenv(name)


@pytest.mark.parametrize("name", sorted(ENGINES))
def test_a_variable_that_is_not_set_is_named(name: str) -> None:
    with pytest.raises(EngineUnavailable, match=external.VARIABLES[name]):
        external.connect(ENGINES[name])


@pytest.mark.parametrize("value", ["", "aws"])
def test_the_service_itself(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv("BROKERBENCH_SQS_ENDPOINT", value)
    with pytest.raises(BadInput, match="AWS_REGION"):
        external.connect(LOCALSTACK)
    monkeypatch.setenv("AWS_REGION", "eu-north-1")
    engine = external.connect(LOCALSTACK)
    assert engine.endpoint == Endpoint("sqs", "", {"region": "eu-north-1"})
    assert (engine.spec.grade, engine.spec.product) == (Grade.SERVICE, "Amazon SQS")


@pytest.mark.parametrize(
    ("url", "grade"),
    [
        ("https://sqs.eu-west-1.amazonaws.com", Grade.SERVICE),
        ("https://sqs.cn-north-1.amazonaws.com.cn", Grade.SERVICE),
        ("http://127.0.0.1:4566", Grade.EMULATOR),
        ("https://amazonaws.com.example.org", Grade.EMULATOR),
    ],
)
def test_only_the_service_has_its_grade(monkeypatch: pytest.MonkeyPatch, url: str, grade: Grade) -> None:
    monkeypatch.setenv("BROKERBENCH_SQS_ENDPOINT", url)
    assert external.connect(LOCALSTACK).spec.grade is grade


@pytest.mark.parametrize(
    ("value", "address"),
    [
        ("redis://host", "redis://host:6379/0"),
        (f"rediss://me:{SECRET}@host:7000/3", "rediss://host:7000/3"),
        (f"redis://:{SECRET}@[::1]:7000", "redis://[::1]:7000/0"),
    ],
)
def test_a_password_leaves_the_address(monkeypatch: pytest.MonkeyPatch, value: str, address: str) -> None:
    monkeypatch.setenv("BROKERBENCH_REDIS_URL", value)
    engine = external.connect(REDIS)
    assert engine.endpoint.address == address
    assert engine.endpoint.secrets.get("password") == (SECRET if SECRET in value else None)
    assert SECRET not in f"{engine!r}{engine.settings}"


def test_kafka_with_a_password(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {
        "BOOTSTRAP": "one:9092,[::1]:9093",
        "SECURITY_PROTOCOL": "SASL_SSL",
        "SASL_MECHANISM": "PLAIN",
        "SASL_USERNAME": "me",
        "SASL_PASSWORD": SECRET,
        "REPLICAS": "3",
    }.items():
        monkeypatch.setenv(f"BROKERBENCH_KAFKA_{name}", value)
    engine = external.connect(KAFKA)
    assert engine.endpoint.options == {
        "security_protocol": "SASL_SSL",
        "sasl_mechanism": "PLAIN",
        "replication_factor": "3",
    }
    assert engine.endpoint.secrets == {"user": "me", "password": SECRET}
    assert SECRET not in f"{engine!r}{engine.settings}"


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("SQS_ENDPOINT", "localhost:4566"),
        ("SQS_ENDPOINT", f"http://me:{SECRET}@localhost:4566"),
        ("SQS_ENDPOINT", "http://localhost:port"),
        ("REDIS_URL", "http://localhost"),
        ("REDIS_URL", f"redis://me:{SECRET}@localhost:70000"),
        ("REDIS_URL", f"redis://me:{SECRET}@[::1"),
        ("REDIS_URL", f"redis://localhost/0?password={SECRET}"),
        ("REDIS_URL", "redis://localhost/first"),
        ("KAFKA_BOOTSTRAP", "localhost"),
        ("KAFKA_BOOTSTRAP", f"me:{SECRET}@localhost:9092"),
        ("KAFKA_SECURITY_PROTOCOL", "TLS"),
        ("KAFKA_SSL_CA", "/no/such/file"),
        ("KAFKA_REPLICAS", "0"),
    ],
)
def test_a_bad_value_names_its_variable_and_shows_no_secret(
    monkeypatch: pytest.MonkeyPatch, variable: str, value: str
) -> None:
    monkeypatch.setenv("BROKERBENCH_KAFKA_BOOTSTRAP", "localhost:9092")
    monkeypatch.setenv(f"BROKERBENCH_{variable}", value)
    broker = variable.partition("_")[0].lower()
    with pytest.raises(BadInput, match=f"BROKERBENCH_{variable}") as caught:
        external.connect(ENGINES[broker])
    assert SECRET not in str(caught.value)


RUN = """
import sys, time
from pathlib import Path
from brokerbench.bench.engines.base import EngineChoice
from brokerbench.bench.run.session import channel_prefix, start_engines
from brokerbench.bench.guard import Guard
from brokerbench.brokers import registry
from brokerbench.brokers.types import ChannelSpec

guard = Guard.start(sys.argv[1])
engine = start_engines([sys.argv[2]], EngineChoice.EXTERNAL, guard.directory("logs"), guard)[sys.argv[2]]
registry.connect(sys.argv[3], engine.endpoint).create_channel(ChannelSpec(channel_prefix(sys.argv[1]) + "made"))
print("made", flush=True)
time.sleep(600)
"""


@pytest.mark.engine
@pytest.mark.parametrize(
    ("name", "profile"), [("redis", "redis-streams"), ("kafka", "kafka"), ("sqs", "sqs-standard"), ("sqs", "sqs-fifo")]
)
def test_a_killed_run_leaves_no_channel_on_somebody_elses_broker(
    endpoint_of: Callable[[str], Endpoint], monkeypatch: pytest.MonkeyPatch, name: str, profile: str
) -> None:
    endpoint = endpoint_of(name)
    monkeypatch.setenv(external.VARIABLES[name], endpoint.address)
    run_id = f"external-{os.getpid()}-{profile}"
    broker = registry.connect(profile, endpoint)
    broker.create_channel(ChannelSpec(f"not-{profile}"))
    with subprocess.Popen([sys.executable, "-c", RUN, run_id, name, profile], stdout=subprocess.PIPE, text=True) as run:
        assert run.stdout is not None
        assert run.stdout.readline() == "made\n"
        assert broker.list_channels(f"bb-{run_id}-")
        run.send_signal(signal.SIGKILL)

    deadline = time.monotonic() + 15
    while broker.list_channels(f"bb-{run_id}-") and time.monotonic() < deadline:
        time.sleep(0.1)
    assert broker.list_channels(f"bb-{run_id}-") == []
    assert broker.list_channels("not-"), "what the run did not make is still there"
    broker.close()
