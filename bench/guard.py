"""Ends everything that a run started when the run's parent ends, also when SIGKILL ends it.

One guard process per run, started first, in its own session. It holds the read end of a pipe whose write end only the
parent has (Python makes descriptors non-inheritable): when the pipe ends, the parent is gone, and
the guard kills, removes and cleans up all that the ledger names. The ledger is written and synced
*before* each creation: a process waits in a shell, which becomes its program only when its session is
in the ledger, and ends when the parent dies before. What moved to a session of its own is found by the token that
every child carries in its environment. The token alone would not do: redis-server overwrites its environment.

PR_SET_PDEATHSIG would not do: it fires when the starting *thread* ends, removes no directory, and is Linux only.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import psutil

from brokerbench.bench import children
from brokerbench.bench.errors import BadInput

TOKEN = "BROKERBENCH_RUN"
"""Environment variable that marks every process of a run."""
_SWEEP_S = 5.0
_REMOTE_S = 30.0
_SAME_BIRTH_S = 2.0
"""Two readings of one process's time of birth differ by less, and a process number is not reused sooner (seconds)."""
_WHEN_TOLD = 'read -r told && exec "$@"'


class Guard:
    """The parent's side. Everything that outlives a statement is created through this."""

    def __init__(self, run_id: str, process: subprocess.Popen[bytes], ledger: Path) -> None:
        self.run_id = run_id
        self._process, self._ledger = process, ledger
        self._born_s = psutil.Process(process.pid).create_time()
        self._lock = threading.RLock()
        self._closing = threading.Event()
        self._watcher = threading.Thread(target=self._watch, name="guard-watch", daemon=True)
        self._watcher.start()

    @classmethod
    def start(cls, run_id: str) -> Self:
        """Start the guard process; nothing of the run may be created before."""
        ledger = Path(tempfile.gettempdir()) / f"brokerbench-{run_id}-{os.urandom(3).hex()}.ledger"
        # The guard itself does not carry the token, else it would sweep itself away.
        environment = {key: value for key, value in os.environ.items() if key != TOKEN}
        process = subprocess.Popen(
            children.command("bench.guard", run_id, str(ledger)),
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            env=children.environment(environment),
            cwd="/",
            start_new_session=True,
        )
        return cls(run_id, process, ledger)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def directory(self, purpose: str) -> Path:
        """A temporary directory that is removed with the run."""
        path = Path(tempfile.gettempdir()) / f"brokerbench-{self.run_id}-{purpose}-{os.urandom(3).hex()}"
        with self._lock:  # no sweep between the two
            self._note(directory=str(path))
            path.mkdir(mode=0o700)
        return path

    def note_container(self, label: str) -> None:
        """Note a label (``name=value``) whose containers are removed with the run. Call before creating one."""
        self._note(container_label=label)

    def note_remote(self, argv: Sequence[str]) -> None:
        """Note a command that removes the run's channels from a broker elsewhere; it runs in the guard's environment.

        It is written to a file: it must hold no secrets.
        """
        self._note(remote=list(argv))

    def spawn(
        self, argv: Sequence[str], *, log_path: Path, env: Mapping[str, str] | None = None, cwd: Path | None = None
    ) -> subprocess.Popen[bytes]:
        """Start a process in its own group: Ctrl-C goes to the parent, which stops everything in order."""
        with log_path.open("ab") as log:
            process = self._start(f"{_WHEN_TOLD} </dev/null", argv, env, stdout=log, stderr=subprocess.STDOUT, cwd=cwd)
        assert process.stdin is not None
        process.stdin.close()
        return process

    def spawn_piped(self, argv: Sequence[str], *, log_path: Path) -> subprocess.Popen[str]:
        """The same with text pipes to its standard input and output; its standard error goes to the log."""
        with log_path.open("ab") as log:
            return self._start(_WHEN_TOLD, argv, stdout=subprocess.PIPE, stderr=log, text=True, encoding="utf-8")

    def kill(self, process: subprocess.Popen[Any]) -> None:
        """SIGKILL to the process's whole group. Idempotent."""
        kill_group(process.pid)

    def close(self) -> None:
        """Sweep now; returns when everything is removed, also when the guard has died. Idempotent."""
        if self._begin_closing():
            assert self._process.stdin is not None
            self._process.stdin.close()
        self._watcher.join()

    def _begin_closing(self) -> bool:
        """True for the first caller."""
        with self._lock:
            first = not self._closing.is_set()
            self._closing.set()
        return first

    def _start(
        self, script: str, argv: Sequence[str], env: Mapping[str, str] | None = None, **options: Any
    ) -> subprocess.Popen[Any]:
        """A process that waits in its shell until its session is noted, and then executes its program."""
        process = subprocess.Popen(
            ["/bin/sh", "-c", script, "sh", *argv],
            stdin=subprocess.PIPE,
            env={**children.environment(), **(env or {}), TOKEN: self.run_id},
            start_new_session=True,
            **options,
        )
        assert process.stdin is not None
        try:
            # Relative to the guard's birth: a step of the wall clock moves both.
            age_s = psutil.Process(process.pid).create_time() - self._born_s
            self._note(session=process.pid, age_s=age_s)
            os.write(process.stdin.fileno(), b"\n")
            return process
        except BaseException:
            process.stdin.close()  # it ends without executing anything
            process.wait()
            raise

    def _note(self, **entry: Any) -> None:
        with self._lock:
            if self._closing.is_set():
                raise RuntimeError("the run is over: nothing more is started")
            ledger = os.open(self._ledger, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
            try:
                os.write(ledger, (json.dumps(entry) + "\n").encode())
                os.fsync(ledger)
            finally:
                os.close(ledger)

    def _watch(self) -> None:
        """End the run when the guard dies: without it nothing would be cleaned up after a crash."""
        if self._process.wait() == children.OTHER_CODE:  # the guard has said why; a short run may be over already
            self._begin_closing()
            sweep(self.run_id, self._ledger, self._born_s)
            os._exit(BadInput.exit_code)
        if not self._begin_closing():
            return
        print("brokerbench: the guard process died; the run is stopped", file=sys.stderr)
        sweep(self.run_id, self._ledger, self._born_s)
        os.kill(os.getpid(), signal.SIGTERM)


def kill_group(leader: int, sig: signal.Signals = signal.SIGKILL) -> None:
    """Signal a process group; silent when it is gone."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(leader, sig)


def sweep(run_id: str, ledger: Path, born_s: float) -> None:
    """Kill and remove all that the run made, and the ledger last. ``born_s``: the guard's own time of birth."""
    entries = _entries(ledger)
    labels = [entry["container_label"] for entry in entries if "container_label" in entry]
    sessions = {entry["session"]: born_s + entry["age_s"] for entry in entries if "session" in entry}
    deadline = time.monotonic() + _SWEEP_S
    while (left := list(_processes(run_id, sessions))) and time.monotonic() < deadline:
        for process in left:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        psutil.wait_procs(left, timeout=0.5)
    for entry in entries:
        if "directory" in entry:
            shutil.rmtree(entry["directory"], ignore_errors=True)
    if labels:
        _remove_containers(labels)
    for entry in entries:
        if "remote" in entry:
            try:
                subprocess.run(entry["remote"], stdin=subprocess.DEVNULL, timeout=_REMOTE_S, check=True)
            except (OSError, subprocess.SubprocessError) as problem:
                print(f"brokerbench: what the run left elsewhere may still be there: {problem}", file=sys.stderr)
    ledger.unlink(missing_ok=True)


def _entries(ledger: Path) -> list[dict[str, Any]]:
    try:
        lines = ledger.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        return []
    # A last line that the parent's death cut off names nothing that was created.
    return [json.loads(line) for line in lines if line.endswith("}")]


def _processes(run_id: str, sessions: Mapping[int, float]) -> Iterator[psutil.Process]:
    """Processes that still run: members of a session in the ledger, and those that carry the token."""
    for process in psutil.process_iter():
        try:
            if process.status() == psutil.STATUS_ZOMBIE:
                continue
            if _is_member(process, sessions) or process.environ().get(TOKEN) == run_id:
                yield process
        except (psutil.NoSuchProcess, psutil.AccessDenied, psutil.ZombieProcess, OSError):
            continue  # gone, or not ours


def _is_member(process: psutil.Process, sessions: Mapping[int, float]) -> bool:
    leader = os.getsid(process.pid)
    if leader not in sessions:
        return False
    try:
        return abs(psutil.Process(leader).create_time() - sessions[leader]) < _SAME_BIRTH_S
    except psutil.NoSuchProcess:
        return True  # a session keeps its number from being used again while it has members


def _remove_containers(labels: Sequence[str]) -> None:
    import docker  # only where containers were made: the guard must start fast

    client = docker.from_env()
    for label in labels:
        for container in client.containers.list(all=True, filters={"label": label}, ignore_removed=True):
            try:
                container.remove(force=True, v=True)
            except docker.errors.APIError as error:
                print(f"brokerbench: {container.name} could not be removed: {error}", file=sys.stderr)


def main() -> None:
    """The guard's side: wait for the end of the pipe, then sweep."""
    children.require_same_code()
    run_id, ledger = sys.argv[1], Path(sys.argv[2])
    for ignored in (signal.SIGINT, signal.SIGHUP, signal.SIGTERM):
        signal.signal(ignored, signal.SIG_IGN)
    sys.stdin.buffer.read()
    sweep(run_id, ledger, psutil.Process().create_time())


if __name__ == "__main__":
    main()
