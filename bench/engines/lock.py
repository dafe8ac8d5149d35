"""Writes the locks of native engines anew, after a version in the catalogue has changed: ``make lock``.

Every later installation must match what is resolved and downloaded now: read the difference before committing it.
"""

from __future__ import annotations

import hashlib
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path

from brokerbench.bench.engines import prepare
from brokerbench.bench.engines.base import EngineSpec
from brokerbench.bench.engines.catalogue import ELASTICMQ, KAFKA, LOCALSTACK

_LOCALSTACK_AS_OF = "2026-03-24"
"""Date of resolution: later versions of its dependencies break it."""


def jars(spec: EngineSpec) -> str:
    """Lines ``sha256  group:artifact:version``: the package and its runtime dependencies."""
    import jgo

    return _lines((found.groupId, found.artifactId, found.version) for found in jgo.resolve(spec.package))


def kafka_tools() -> str:
    """One line: Kafka brings the dependencies of its tools."""
    return _lines([("org.apache.kafka", "kafka-tools", KAFKA.version)])


def _lines(wanted: Iterable[tuple[str, str, str]]) -> str:
    from jgo.maven import MavenContext

    with tempfile.TemporaryDirectory(prefix="brokerbench-lock-") as scratch:
        context = MavenContext(repo_cache=Path(scratch), local_repos=[], timeout=30)
        lines = []
        for group, artifact, version in wanted:
            jar = context.project(group, artifact).at_version(version).artifact().resolve()
            lines.append(f"{hashlib.sha256(jar.read_bytes()).hexdigest()}  {group}:{artifact}:{version}\n")
    return "".join(sorted(lines, key=lambda line: line.split()[1]))


def localstack() -> None:
    """Names, versions and hashes, for every supported Python."""
    command = [sys.executable, "-m", "uv", "pip", "compile", "-", "--universal", "--python-version", "3.11"]
    command += ["--exclude-newer", _LOCALSTACK_AS_OF, "--generate-hashes", "--no-header", "--no-annotate"]
    command += ["--output-file", str(prepare.LOCKS / "localstack.txt"), "--quiet"]
    wanted = "\n".join([LOCALSTACK.package, "moto", "boto3"])
    subprocess.run(command, input=wanted, text=True, check=True, stdout=subprocess.DEVNULL)


if __name__ == "__main__":
    for spec in (KAFKA, ELASTICMQ):
        prepare.lock_of(spec).write_text(jars(spec), encoding="utf-8")
    (prepare.LOCKS / f"kafka-tools-{KAFKA.version}.sha256").write_text(kafka_tools(), encoding="utf-8")
    localstack()
