"""The doctor says what is missing, and shows no value of a variable."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

from brokerbench.bench.commands import doctor


def check(what: str) -> doctor.Check:
    (found,) = (entry for entry in doctor.examine() if entry.what.startswith(what))
    return found


def program(path: Path, says: str) -> Path:
    path.write_text(f"#!/bin/sh\necho '{says}'\n")
    path.chmod(0o755)
    return path


@pytest.mark.parametrize(
    ("variable", "what", "says"),
    [
        ("BROKERBENCH_JAVA", "Java", 'openjdk version "11.0.2" 2019-01-15'),
        ("BROKERBENCH_JAVA", "Java", 'java version "1.8.0_202"'),
        ("BROKERBENCH_REDIS_SERVER", "Redis", "Redis server v=6.2.14 sha=0 malloc=jemalloc"),
        ("BROKERBENCH_REDIS_SERVER", "Redis", "what?"),
    ],
)
def test_a_program_that_is_too_old_is_not_enough(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variable: str, what: str, says: str
) -> None:
    monkeypatch.setenv(variable, str(program(tmp_path / "program", says)))
    found = check(what)
    assert not found.ok
    assert says in found.detail


def test_a_program_that_is_not_there_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BROKERBENCH_JAVA", "/no/such/java")
    found = check("Java")
    assert (found.ok, found.required) == (False, True)
    assert "/no/such/java" in found.detail


def test_parts_that_were_not_fetched_are_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BROKERBENCH_CACHE", str(tmp_path))
    assert not check("Kafka's jars").ok
    assert not check("LocalStack's environment").ok


@pytest.mark.parametrize("checkout", [True, False])
def test_the_advice_is_a_command_that_exists_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, checkout: bool
) -> None:
    monkeypatch.setenv("BROKERBENCH_CACHE", str(tmp_path))
    monkeypatch.setenv("BROKERBENCH_JAVA", "/no/such/java")
    monkeypatch.setattr("brokerbench.bench.engines.prepare.in_checkout", lambda: checkout)
    advice = {entry.mend for entry in doctor.examine() if not entry.ok}
    assert any("make engines" in mend for mend in advice) is checkout
    assert any("brokerbench.bench.engines.prepare" in mend for mend in advice) is not checkout
    if not checkout:
        assert not any("make " in mend for mend in advice)
    assert importlib.util.find_spec("brokerbench.bench.engines.prepare")


def client() -> doctor.Check:
    kafka, share = (entry for entry in doctor.examine() if entry.what.startswith("client of kafka"))
    assert (kafka.what, share.what) == ("client of kafka", "client of kafka-share")
    assert (kafka.ok, kafka.detail) == (share.ok, share.detail)
    return kafka


def test_the_kafka_client_is_named_with_its_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BROKERBENCH_KAFKA_CLIENT", "plain")
    assert client().detail == "plain (BROKERBENCH_KAFKA_CLIENT is set)"
    assert check("external kafka").detail == "no variable is set"
    monkeypatch.delenv("BROKERBENCH_KAFKA_CLIENT")
    assert client().detail.startswith("columns (librdkafka 2.")
    monkeypatch.setenv("BROKERBENCH_KAFKA_CLIENT", "fast")
    found = client()
    assert (found.ok, found.required) == (False, False)
    assert "it must be 'columns', 'plain' or unset" in found.detail


def test_variables_are_named_and_their_values_are_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "s3cr3t")
    monkeypatch.setenv("BROKERBENCH_REDIS_URL", "redis://:s3cr3t@host")
    text = doctor.text(doctor.examine())
    assert "AWS_SECRET_ACCESS_KEY" in text
    assert "s3cr3t" not in text
