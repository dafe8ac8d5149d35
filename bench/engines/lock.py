"""Writes the locks of native engines anew, after a version in the catalogue has changed: ``make lock``.

What was resolved and downloaded now is what every later installation is held to: read the difference before it
is committed.
"""

from __future__ import annotations

import hashlib
import subprocess
import sys
import tempfile
from pathlib import Path

from brokerbench.bench.engines import prepare
from brokerbench.bench.engines.base import EngineSpec
from brokerbench.bench.engines.catalogue import ELASTICMQ, KAFKA, LOCALSTACK

_LOCALSTACK_AS_OF = "2026-03-24"
"""Its dependencies of later days break it."""


def jars(spec: EngineSpec) -> str:
    """Lines ``sha256  group:artifact:version``: the package and all that it needs when it runs."""
    import jgo
    from jgo.maven import MavenContext

    with tempfile.TemporaryDirectory(prefix="brokerbench-lock-") as scratch:
        context = MavenContext(repo_cache=Path(scratch), local_repos=[], timeout=30)
        lines = []
        for found in jgo.resolve(spec.package):
            jar = context.project(found.groupId, found.artifactId).at_version(found.version).artifact().resolve()
            digest = hashlib.sha256(jar.read_bytes()).hexdigest()
            lines.append(f"{digest}  {found.groupId}:{found.artifactId}:{found.version}\n")
    return "".join(sorted(lines, key=lambda line: line.split()[1]))


def kafka_tools() -> str:
    """One line: what the tools need besides, Kafka brings."""
    from jgo.maven import MavenContext

    with tempfile.TemporaryDirectory(prefix="brokerbench-lock-") as scratch:
        context = MavenContext(repo_cache=Path(scratch), local_repos=[], timeout=30)
        project = context.project("org.apache.kafka", "kafka-tools")
        jar = project.at_version(KAFKA.version).artifact().resolve()
        return f"{hashlib.sha256(jar.read_bytes()).hexdigest()}  org.apache.kafka:kafka-tools:{KAFKA.version}\n"


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
