"""Parts of native engines are whole and verified, or not there."""

from __future__ import annotations

import hashlib
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from brokerbench.bench.engines import prepare
from brokerbench.bench.engines.base import port_of
from brokerbench.bench.engines.catalogue import ELASTICMQ, KAFKA, REDIS
from brokerbench.bench.errors import BadInput, EngineUnavailable


@pytest.fixture
def lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A lock of two jars, and a repository that has them."""
    from jgo.maven import _core

    def resolve(artifact: _core.Artifact) -> Path:
        jar: Path = artifact.context.repo_cache / artifact.filename
        jar.write_bytes(artifact.filename.encode())
        return jar

    monkeypatch.setattr(_core.Artifact, "resolve", resolve)
    monkeypatch.setenv("BROKERBENCH_CACHE", str(tmp_path / "cache"))
    digests = {name: hashlib.sha256(f"{name}-1.jar".encode()).hexdigest() for name in ("one", "two")}
    path = tmp_path / "parts.sha256"
    path.write_text("".join(f"{digest}  org.example:{name}:1\n" for name, digest in digests.items()))
    return path


def part(lock: Path) -> Path:
    return prepare.EnginePart("part", lock, lambda target: prepare._jars(lock, target)).fetched()


def test_a_part_is_made_once_and_again_when_its_lock_changes(lock: Path, capfd: pytest.CaptureFixture[str]) -> None:
    made = part(lock)
    assert sorted(path.name for path in made.glob("*.jar")) == ["one-1.jar", "two-1.jar"]
    assert part(lock) == made
    assert capfd.readouterr().err.count("preparing part") == 1
    lock.write_text(lock.read_text().splitlines()[0])
    assert [path.name for path in part(lock).glob("*.jar")] == ["one-1.jar"]


def test_a_jar_with_another_hash_is_refused_by_name(lock: Path) -> None:
    lock.write_text(lock.read_text().replace(hashlib.sha256(b"two-1.jar").hexdigest(), "0" * 64))
    with pytest.raises(EngineUnavailable, match=r"org\.example:two:1 is not what locks/parts\.sha256 names"):
        part(lock)
    assert not (prepare.cache_directory() / "part").exists(), "nothing half-made is left"


def test_what_was_interrupted_is_begun_anew(lock: Path) -> None:
    half = prepare.cache_directory() / "part"
    half.mkdir(parents=True)
    (half / "one-1.jar").write_bytes(b"half of i")
    assert (part(lock) / "one-1.jar").read_bytes() == b"one-1.jar"


def test_a_cache_that_cannot_be_written_is_named(lock: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("BROKERBENCH_CACHE", str(tmp_path / "file" / "cache"))
    with pytest.raises(EngineUnavailable, match="BROKERBENCH_CACHE"):
        part(lock)


def test_without_a_network_there_is_one_message(tmp_path: Path) -> None:
    dead_proxies = {
        f"{scheme}_{word}": "http://127.0.0.1:9" for scheme in ("HTTP", "HTTPS", "ALL") for word in ("PROXY",)
    }
    dead_proxies |= {name.lower(): value for name, value in dead_proxies.items()}
    environment = {**os.environ, **dead_proxies, "BROKERBENCH_CACHE": str(tmp_path), "NO_PROXY": "", "no_proxy": ""}
    done = subprocess.run(
        [sys.executable, "-m", "brokerbench.bench.engines.prepare"],
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == EngineUnavailable.exit_code
    assert "needs a network" in done.stderr
    assert "Traceback" not in done.stderr


def test_locks_name_the_packages_of_the_catalogue() -> None:
    for spec in (KAFKA, ELASTICMQ):
        assert spec.package in prepare.locked_jars(prepare.lock_of(spec))


@pytest.mark.parametrize("value", ["http", "0", "65536", "-1"])
def test_a_port_that_is_none_is_refused(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv("BROKERBENCH_REDIS_PORT", value)
    with pytest.raises(BadInput, match="BROKERBENCH_REDIS_PORT"):
        port_of(REDIS)


def test_a_port_in_use_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        monkeypatch.setenv("BROKERBENCH_REDIS_PORT", str(port))
        with pytest.raises(BadInput, match=f"BROKERBENCH_REDIS_PORT={port}.*in use"):
            port_of(REDIS)
    assert port_of(REDIS) == port
