"""What machine and which software measured: stands in every result, so that unlike runs are not compared."""

from __future__ import annotations

import os
import platform
import re
import subprocess
from collections.abc import Collection, Iterable
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path

import psutil

from brokerbench.bench.errors import BadInput
from brokerbench.brokers import registry
from brokerbench.brokers.errors import Misuse
from brokerbench.scenarios.results import Client, Environment

_PACKAGES = (
    "boto3",
    "aiobotocore",
    "redis",
    "hiredis",
    "confluent-kafka",
    "numpy",
    "pyarrow",
    "testcontainers",
    "brokerbench",
)


PROFILES_WITH_CLIENTS = ("kafka", "kafka-share")
"""The profiles that can use their client library in more than one way."""


def describe(profiles: Iterable[str] = ()) -> Environment:
    """The environment of this process. Packages from elsewhere count where one of ``profiles`` comes from them.

    Raises BadInput where one of ``profiles`` is to use a client that there is not.
    """
    profiles = set(profiles)
    origins = registry.catalogue().origins
    elsewhere = {origins[profile].partition(" ")[0] for profile in profiles if profile in origins}
    packages = [*_PACKAGES, *(name for origin in sorted(elsewhere) for name in (origin, *_needs(origin)))]
    return Environment(
        system=f"{platform.system()} {platform.release()}",
        machine=platform.machine(),
        cpu_model=_cpu_model(),
        cpu_count=len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1,
        memory_bytes=psutil.virtual_memory().total,
        python=f"{platform.python_implementation()} {platform.python_version()}",
        packages={name: _version(name) for name in packages},
        code_revision=_revision(),
        clients=clients(profiles),
    )


def clients(profiles: Collection[str]) -> dict[str, Client]:
    """{profile: its client}, for those with more than one. Raises BadInput for a client that is not possible here."""
    try:
        return {profile: kafka_client(profile) for profile in PROFILES_WITH_CLIENTS if profile in profiles}
    except ImportError:  # its library is missing, which its cells will say
        return {}


def kafka_client(profile: str) -> Client:
    """Raises BadInput as ``clients``, and ImportError without its library."""
    from brokerbench.brokers.kafka.client_choice import choice

    try:
        chosen = choice(share=profile == "kafka-share")
    except Misuse as problem:
        raise BadInput(str(problem)) from None
    return Client(name=chosen.client, reason=chosen.reason)


def _needs(distribution: str) -> list[str]:
    """The packages that it names itself, its client library among them."""
    try:
        found = requires(distribution) or []
    except PackageNotFoundError:
        return []
    return [re.split(r"[^\w.-]", entry, maxsplit=1)[0] for entry in found if "extra ==" not in entry]


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"


def _cpu_model() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass  # not Linux: the platform module knows less, but something
    return platform.processor() or "unknown"


def _revision() -> str:
    """Revision of the checkout that this code runs from, ``+dirty`` where tracked files differ.

    An environment inside another project's checkout is no part of it: there this file is not tracked.
    """
    here = Path(__file__).resolve()

    def git(*words: str) -> str:
        done = subprocess.run(
            ["git", "-C", str(here.parent), *words], capture_output=True, text=True, check=True, timeout=10
        )
        return done.stdout.strip()

    try:
        git("ls-files", "--error-unmatch", here.name)
        revision = git("rev-parse", "--short=12", "HEAD")
        return revision + ("+dirty" if git("status", "--porcelain", "--untracked-files=no") else "")
    except (OSError, subprocess.SubprocessError):
        return f"release {_version('brokerbench')}"
