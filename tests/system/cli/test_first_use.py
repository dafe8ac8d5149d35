"""The first use of an engine: two runs at once, a run that is killed while it downloads, no network."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

TWO = """
import sys, time
from pathlib import Path
from brokerbench.bench.engines import prepare

lock, made = Path(sys.argv[1]), Path(sys.argv[2])

def make(target):
    target.mkdir()
    with made.open("a") as log:
        log.write("made\\n")
    time.sleep(1.0)
    (target / "file").write_text("whole")

print((prepare.EnginePart("part", lock, make).fetched() / "file").read_text())
"""


def test_two_runs_at_once_make_a_part_once(tmp_path: Path) -> None:
    lock, made = tmp_path / "lock", tmp_path / "made"
    lock.write_text("x")
    environment = os.environ | {"BROKERBENCH_CACHE": str(tmp_path / "cache")}
    both = [
        subprocess.Popen(
            [sys.executable, "-c", TWO, str(lock), str(made)], env=environment, stdout=subprocess.PIPE, text=True
        )
        for _ in range(2)
    ]
    assert [process.communicate(timeout=60)[0] for process in both] == ["whole\n", "whole\n"]
    assert made.read_text() == "made\n"


def no_network(where: Path) -> dict[str, str]:
    dead_proxies = {f"{scheme}_PROXY": "http://127.0.0.1:9" for scheme in ("HTTP", "HTTPS", "ALL")}
    own = {"HOME": str(where / "home"), "UV_CACHE_DIR": str(where / "uv"), "BROKERBENCH_CACHE": str(where / "cache")}
    return os.environ | dead_proxies | {name.lower(): value for name, value in dead_proxies.items()} | own


@pytest.mark.parametrize("profile", ["kafka", "sqs-fifo"])
def test_without_a_network_a_run_ends_with_one_message_and_leaves_nothing(profile: str, tmp_path: Path) -> None:
    program = str(Path(sys.executable).parent / "brokerbench")
    out = tmp_path / "run"
    command = [program, "run", "--engine", "native", "--profile", profile, "--scenario", "replay", "--out", str(out)]
    done = subprocess.run(command, env=no_network(tmp_path), capture_output=True, text=True, timeout=120)
    assert done.returncode == 3
    assert [line for line in done.stderr.splitlines() if line.startswith("brokerbench: ")] == [
        done.stderr.splitlines()[-1]
    ]
    assert "the first use of native engines needs a network (once)" in done.stderr
    assert "Traceback" not in done.stderr
    assert not out.exists()
    assert [path for path in (tmp_path / "cache").iterdir() if path.is_dir()] == []


@pytest.mark.parametrize("sig", [signal.SIGKILL, signal.SIGINT])
def test_a_download_ends_with_its_run(sig: signal.Signals, tmp_path: Path) -> None:
    """The index is a port that takes connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        program = str(Path(sys.executable).parent / "brokerbench")
        environment = no_network(tmp_path) | {
            name: f"http://127.0.0.1:{silent.getsockname()[1]}" for name in ("HTTPS_PROXY", "https_proxy")
        }
        command = [program, "run", "--engine", "native", "--profile", "sqs-fifo", "--out", str(tmp_path / "run")]
        run = subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL)
        silent.settimeout(60)
        connection, _ = silent.accept()
        downloads = [p for p in psutil.Process(run.pid).children(recursive=True) if p.name() == "uv"]
        assert len(downloads) == 1
        run.send_signal(sig)
        assert run.wait(10) == (130 if sig is signal.SIGINT else -sig)
        deadline = time.monotonic() + 5.0
        while downloads[0].is_running() and downloads[0].status() != "zombie" and time.monotonic() < deadline:
            time.sleep(0.05)
        assert not downloads[0].is_running() or downloads[0].status() == "zombie"
        connection.close()
