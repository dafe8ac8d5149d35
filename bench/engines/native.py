"""Brokers as plain processes of this machine, on loopback ports, under the guard.

``python -m brokerbench.bench.engines.native kafka redis sqs`` starts engines in the foreground for development: one
JSON line each, until Ctrl-C.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import psutil

from brokerbench.bench.engines import base, catalogue, prepare
from brokerbench.bench.engines.base import LOOPBACK, Command, EngineKind, EngineSpec, Recipe, port_of, tail
from brokerbench.bench.errors import BadInput, BenchError, EngineUnavailable
from brokerbench.bench.guard import Guard, kill_group

_START_S = 90.0
_STOP_S = 5.0


class NativeEngine:
    """One broker process, with its own data directory."""

    kind = EngineKind.NATIVE

    def __init__(self, spec: EngineSpec, command: Command, directory: Path, log: Path, guard: Guard) -> None:
        self.spec, self.endpoint, self.settings = spec, command.endpoint, spec.settings
        self._command, self._directory, self._log, self._guard = command, directory, log, guard
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Returns when it listens on its port. Raises PortTaken, or EngineUnavailable with the end of the log.

        The owner of the port is looked up: not every broker ends, or says so, when it cannot bind.
        """
        self._process = self._guard.spawn(
            self._command.argv, log_path=self._log, env=self._command.environment, cwd=self._directory
        )
        try:
            base.wait_until_up(self, self._listens, _START_S)
        except EngineUnavailable:
            self.stop()
            raise

    def _listens(self) -> bool:
        # In this order: a port that answers first and is not ours afterwards is a stranger's.
        answering, ours = _answering(self._command.ports), _listening(self.pid())
        if self._command.ports[0] not in ours and (strangers := answering - ours):
            raise base.PortTaken(f"{self.spec.product}: somebody else listens on port {min(strangers)}")
        return self._command.ports[0] in ours

    def alive(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def log_tail(self) -> str:
        return tail(self._log)

    def pid(self) -> int:
        assert self._process is not None, "not started"
        return self._process.pid

    def kill(self) -> None:
        """SIGKILL, and wait until it is dead."""
        self._signal(signal.SIGKILL)
        if self._process is not None:
            self._process.wait()

    def pause(self) -> None:
        """Returns when all threads are stopped; on a busy machine that takes some milliseconds after the signal.

        Raises EngineUnavailable when it does not.
        """
        self._signal(signal.SIGSTOP)
        deadline = time.monotonic() + _STOP_S
        stopped = os.WSTOPPED | os.WNOHANG | os.WNOWAIT
        while self.alive() and os.waitid(os.P_PID, self.pid(), stopped) is None:
            if time.monotonic() > deadline:
                self.resume()
                raise EngineUnavailable(f"{self.spec.product} still runs {_STOP_S:g} s after it was told to pause")
            time.sleep(0.001)

    def resume(self) -> None:
        self._signal(signal.SIGCONT)

    def restart(self) -> None:
        """Stop in order and start again: the same port, the same data."""
        self.stop()
        self.start()

    def stop(self) -> None:
        """SIGTERM, then SIGKILL when that takes too long; its data directory goes with the guard."""
        if self._process is None:
            return
        self._signal(signal.SIGTERM)
        self._signal(signal.SIGCONT)  # a paused process would not see it
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(timeout=_STOP_S)
        self.kill()

    def _signal(self, sig: signal.Signals) -> None:
        if self._process is not None:
            kill_group(self._process.pid, sig)


def _answering(ports: Sequence[int]) -> set[int]:
    """Ports on which any process listens."""
    found = set()
    for port in ports:
        with socket.socket() as probe:
            probe.settimeout(0.5)
            # Where no process listens, a probe may be given that very port, and then it reaches itself.
            if probe.connect_ex((LOOPBACK, port)) == 0 and probe.getsockname() != (LOOPBACK, port):
                found.add(port)
    return found


def _listening(leader: int) -> set[int]:
    """Ports of a process and of its descendants; empty while it starts or ends."""
    ports: set[int] = set()
    with contextlib.suppress(psutil.Error):
        process = psutil.Process(leader)
        for one in (process, *process.children(recursive=True)):
            with contextlib.suppress(psutil.Error):  # a child that has just ended does not hide the others
                sockets = one.net_connections("tcp")
                ports |= {found.laddr.port for found in sockets if found.status == psutil.CONN_LISTEN}
    return ports


def redis(spec: EngineSpec, directory: Path, log: Path, guard: Guard) -> Command:
    port = port_of(spec)
    options = catalogue.redis_options(spec, port, LOOPBACK, str(directory))
    return Command((str(prepare.redis()), *options), (port,), catalogue.redis_endpoint(port))


def kafka(spec: EngineSpec, directory: Path, log: Path, guard: Guard) -> Command:
    jars, java, port, controller = prepare.kafka(), prepare.java(), port_of(spec), base.free_port()
    properties, logging = directory / "server.properties", directory / "log4j2.yaml"
    properties.write_text(catalogue.kafka_properties(spec, port, controller, LOOPBACK, str(directory / "data")))
    logging.write_text(_LOG4J)
    run = (str(java), *catalogue.KAFKA_HEAP, f"-Dlog4j2.configurationFile={logging}", "-cp", f"{jars}/*")
    form = (*run, "kafka.tools.StorageTool", *catalogue.kafka_format_options(str(properties)))
    if guard.spawn(form, log_path=log, cwd=directory).wait() != 0:
        raise EngineUnavailable(f"{spec.product} could not format its directory: {tail(log)}")
    return Command((*run, "kafka.Kafka", str(properties)), (port, controller), catalogue.kafka_endpoint(port))


_LOG4J = """\
Configuration:
  Appenders:
    Console: {name: out, PatternLayout: {pattern: "%d{ISO8601} %p %c{1}: %m%n"}}
  Loggers:
    Root: {level: WARN, AppenderRef: {ref: out}}
"""


def localstack(spec: EngineSpec, directory: Path, log: Path, guard: Guard) -> Command:
    port = port_of(spec)
    environment = {
        **spec.settings,
        "GATEWAY_LISTEN": f"{LOOPBACK}:{port}",
        # It writes to its own directory only.
        "FILESYSTEM_ROOT": str(directory),
        "HOME": str(directory),
        "TMPDIR": str(directory),
        "LOCALSTACK_VOLUME_DIR": str(directory / "volume"),
        "PYTHONPATH": "",
    }
    program = (str(prepare.localstack()), *catalogue.LOCALSTACK_MODULE)
    return Command(program, (port,), catalogue.sqs_endpoint(port), environment)


def elasticmq(spec: EngineSpec, directory: Path, log: Path, guard: Guard) -> Command:
    port = port_of(spec)
    own = {
        "node-address.host": LOOPBACK,
        "node-address.port": str(port),
        "rest-sqs.bind-hostname": LOOPBACK,
        "rest-sqs.bind-port": str(port),
    }
    options = [f"-D{name}={value}" for name, value in {**spec.settings, **own}.items()]
    program = ("-Xmx512m", *options, "-cp", f"{prepare.elasticmq()}/*", "org.elasticmq.server.Main")
    return Command((str(prepare.java()), *program), (port,), catalogue.sqs_endpoint(port))


_RECIPES: Mapping[str, Recipe] = {"redis": redis, "kafka": kafka, "sqs": localstack, "elasticmq": elasticmq}


def start(spec: EngineSpec, logs: Path, guard: Guard) -> NativeEngine:
    """Start one engine. Raises EngineUnavailable."""
    recipe = _RECIPES.get(spec.name) or catalogue.engine(spec.name).recipe
    log = logs / f"{spec.name}.log"

    def attempt() -> NativeEngine:
        directory = guard.directory(spec.name)
        engine = NativeEngine(spec, recipe(spec, directory, log, guard), directory, log, guard)
        engine.start()
        return engine

    return base.on_a_free_port(attempt)


def main(names: Sequence[str]) -> int:
    known = {spec.name: spec for spec in catalogue.specs()}
    stopped = threading.Event()
    for sig in (signal.SIGINT, signal.SIGTERM):
        signal.signal(sig, lambda *_: stopped.set())
    try:
        if unknown := set(names) - set(known):
            raise BadInput(f"no engine {', '.join(sorted(unknown))}; there are {', '.join(known)}")
        with Guard.start(f"dev-{os.getpid()}") as guard:
            logs = guard.directory("logs")
            engines = [start(known[name], logs, guard) for name in names or catalogue.ENGINES]
            for engine in engines:
                endpoint = engine.endpoint
                row = {"broker": endpoint.broker, "address": endpoint.address, "options": dict(endpoint.options)}
                print(json.dumps({**row, "secrets": dict(endpoint.secrets)}), flush=True)
            while not stopped.wait(0.5):
                for engine in engines:
                    if not engine.alive():
                        raise EngineUnavailable(f"{engine.spec.name} ended: {engine.log_tail()}")
            for engine in engines:
                engine.stop()
    except BenchError as problem:
        print(f"brokerbench: {problem}", file=sys.stderr)
        return problem.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
