"""Three hosts on one machine: each a network namespace with a name, an address, and a monotonic clock of its own.

All is started by a guard: when this process is gone, so is all.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from brokerbench.bench.engines import prepare
from brokerbench.bench.guard import Guard

ADDRESSES = {"cell": "10.214.77.1", "left": "10.214.77.2", "right": "10.214.77.3"}
AHEAD_S = {"cell": 0, "left": 1_000_000, "right": 40_000}
SCHEDULER = f"tcp://{ADDRESSES['cell']}:8786"
BROKER = f"redis://{ADDRESSES['cell']}:6379"
_UP_S = 30.0
_HOLD = "hostname {name} && ip link set lo up && echo $$ && exec cat"


class NotAllowed(RuntimeError):
    """Why there can be no namespaces here."""


@dataclass(slots=True)
class ThreeHosts:
    directory: Path
    guard: Guard
    holders: dict[str, subprocess.Popen[str]] = field(default_factory=dict)
    inside: dict[str, int] = field(default_factory=dict)
    """Process by which a host's namespaces are entered."""
    processes: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    def on(self, host: str, argv: Sequence[str]) -> list[str]:
        """The command that runs ``argv`` on that host."""
        return ["nsenter", f"--target={self.inside[host]}", "--net", "--uts", "--time", "--", *argv]

    def start(self, name: str, host: str, argv: Sequence[str]) -> subprocess.Popen[bytes]:
        process = self.guard.spawn(self.on(host, argv), log_path=self._log_path(name))
        self.processes[name] = process
        return process

    def log(self, name: str) -> str:
        return self._log_path(name).read_text(encoding="utf-8", errors="replace")

    def hold(self, name: str) -> None:
        """A host that lives as long as a process that waits for the end of a pipe from this one."""
        unshare = ["unshare", "--net", "--uts", "--time", f"--monotonic={AHEAD_S[name]}", "--fork", "--kill-child"]
        log_path = self._log_path(f"{name}-holder")
        holder = self.guard.spawn_piped([*unshare, "sh", "-c", _HOLD.format(name=name)], log_path=log_path)
        self.holders[name] = holder
        assert holder.stdout is not None
        told = holder.stdout.readline()
        if not told:
            raise NotAllowed(log_path.read_text(encoding="utf-8", errors="replace").strip())
        self.inside[name] = int(told)

    def _log_path(self, name: str) -> Path:
        return self.directory / f"{name}.log"

    def worker(self, host: str) -> subprocess.Popen[bytes]:
        dask = [sys.executable, "-m", "dask", "worker", SCHEDULER, "--host", ADDRESSES[host], "--no-nanny"]
        return self.start(
            host, host, [*dask, "--nthreads=1", "--no-dashboard", "--local-directory", str(self.directory / host)]
        )


@contextlib.contextmanager
def three_hosts(directory: Path) -> Iterator[ThreeHosts]:
    """Scheduler and broker on ``cell``, a worker on ``left`` and one on ``right``. Raises NotAllowed."""
    with Guard.start(f"hosts-{os.getpid()}") as guard:
        hosts = ThreeHosts(directory, guard)
        for name in ADDRESSES:
            hosts.hold(name)
        _wire(hosts)
        address = ADDRESSES["cell"]
        hosts.start(
            "redis",
            "cell",
            [str(prepare.redis()), "--bind", address, "--protected-mode", "no", "--save", "", "--dir", str(directory)],
        )
        hosts.start(
            "scheduler",
            "cell",
            [sys.executable, "-m", "dask", "scheduler", "--host", address, "--port=8786", "--no-dashboard"],
        )
        for name in ("left", "right"):
            hosts.worker(name)
        _until_said(hosts, {"left": "Registered to", "right": "Registered to", "redis": "Ready to accept"})
        yield hosts
    for ended in (*hosts.processes.values(), *hosts.holders.values()):
        ended.wait()


def _wire(hosts: ThreeHosts) -> None:
    """A switch on ``cell``, and a cable from it to each of the others."""
    commands = [
        hosts.on("cell", ["ip", "link", "add", "switch", "type", "bridge"]),
        hosts.on("cell", ["ip", "address", "add", f"{ADDRESSES['cell']}/24", "dev", "switch"]),
        hosts.on("cell", ["ip", "link", "set", "switch", "up"]),
    ]
    for name in ("left", "right"):
        peer = ["peer", "name", "cable", "netns", str(hosts.inside[name])]
        commands += [
            hosts.on("cell", ["ip", "link", "add", f"to-{name}", "type", "veth", *peer]),
            hosts.on("cell", ["ip", "link", "set", f"to-{name}", "up", "master", "switch"]),
            hosts.on(name, ["ip", "address", "add", f"{ADDRESSES[name]}/24", "dev", "cable"]),
            hosts.on(name, ["ip", "link", "set", "cable", "up"]),
        ]
    for command in commands:
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            raise NotAllowed(f"{' '.join(command[6:])}: {done.stderr.strip()}")


def _until_said(hosts: ThreeHosts, wanted: Mapping[str, str]) -> None:
    deadline = time.monotonic() + _UP_S
    for name, words in wanted.items():
        while words not in hosts.log(name):
            if time.monotonic() > deadline or hosts.processes[name].poll() is not None:
                raise AssertionError(f"{name} did not start: {hosts.log(name)[-500:]}")
            time.sleep(0.05)


def brokerbench(hosts: ThreeHosts, *words: str | Path) -> subprocess.Popen[str]:
    """The command, run on ``cell``, with the broker there."""
    program = Path(sys.executable).parent / "brokerbench"
    return subprocess.Popen(
        hosts.on("cell", [str(program), *map(str, words)]),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "BROKERBENCH_REDIS_URL": BROKER},
    )
