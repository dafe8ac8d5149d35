"""The fixtures ``broker`` and ``channel`` in a repository that is not this one."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

TEST = """
from brokerbench.brokers.types import Batch, ConsumerSettings, ProducerSettings


def test_through(broker, channel):
    producer = broker.producer(channel, ProducerSettings())
    producer.send(Batch([b"a", b"b"]))
    assert list(producer.flush(10.0).outcomes) == [1, 1]
    received = broker.consumer(channel, ConsumerSettings()).receive(1, 10.0)
    assert received.payloads[0] == b"a"


def test_channels(broker, channel, new_channel):
    assert new_channel(partitions=2) != channel
    assert channel in broker.list_channels("")


def test_clean(broker):
    assert not [name for name in broker.list_channels("") if "ready" not in name]
"""


@pytest.fixture
def elsewhere(tmp_path: Path) -> Path:
    (tmp_path / "conftest.py").write_text('pytest_plugins = ["brokerbench.bench.pytest_fixtures"]\n')
    (tmp_path / "test_it.py").write_text(TEST)
    return tmp_path


def run(where: Path, *options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "pytest", "-v", "-p", "no:cacheprovider", *options]
    return subprocess.run(command, cwd=where, capture_output=True, text=True, timeout=120)


def test_without_an_option_it_is_the_reference(elsewhere: Path) -> None:
    done = run(elsewhere)
    assert done.returncode == 0, done.stdout
    assert "brokerbench: memory, engine native" in done.stdout
    assert "test_through[memory] PASSED" in done.stdout


@pytest.mark.engine
def test_each_profile_in_turn_on_a_real_broker(elsewhere: Path) -> None:
    done = run(elsewhere, "--profile", "redis-streams", "--profile", "noop", "--engine", "native")
    assert done.returncode == 0, done.stdout
    assert done.stdout.count("PASSED") == 6
    assert "test_clean[redis-streams] PASSED" in done.stdout


def test_an_unknown_profile_is_one_line(elsewhere: Path) -> None:
    done = run(elsewhere, "--profile", "kafak")
    assert done.returncode == pytest.ExitCode.USAGE_ERROR
    assert "did you mean" in done.stdout + done.stderr or "kafka" in done.stdout + done.stderr
    assert "Traceback" not in done.stdout + done.stderr


def test_nothing_is_added_where_nobody_asked(tmp_path: Path) -> None:
    (tmp_path / "test_it.py").write_text("def test_it(channel): ...\n")
    done = run(tmp_path, "--profile", "memory")
    assert done.returncode == pytest.ExitCode.USAGE_ERROR
    assert "unrecognized arguments: --profile" in done.stderr
