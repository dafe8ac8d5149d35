"""Brokers in Docker containers, started through testcontainers.

The reaper of testcontainers is off: it would be one more image to pull, and the run's own guard
removes containers by their label, which it notes before the first of them is created. A broker
listens inside its container on the port that it is published on, and publishing is on 127.0.0.1 only: addresses
that a broker hands out (Kafka's advertised listener, queue URLs) are then right on both sides, and a
restarted container keeps them.
"""

from __future__ import annotations

import contextlib
import socket
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import docker
from docker.errors import APIError, DockerException, ImageNotFound, NotFound
from docker.models.containers import Container
from requests.exceptions import ConnectionError as DaemonGone
from testcontainers.core.config import testcontainers_config
from testcontainers.core.container import DockerContainer

from bench.errors import EngineUnavailable

testcontainers_config.ryuk_disabled = True

LOOPBACK = "127.0.0.1"
RUN_LABEL = "brokerbench.run"
START_S = 120.0
PORT_ATTEMPTS = 5


@dataclass(frozen=True, slots=True)
class Recipe:
    """What to run in a container. ``port`` is the broker's, inside and outside."""

    image: str
    port: int
    command: tuple[str, ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict)
    files: Mapping[str, bytes] = field(default_factory=dict)


def client() -> docker.DockerClient:
    """A client of the daemon that answers. Raises EngineUnavailable, saying what would mend it."""
    try:
        found = docker.from_env(timeout=60)
        found.ping()
    except (DockerException, DaemonGone) as error:
        raise EngineUnavailable(
            "no Docker daemon answers; install and start one (Debian: apt-get install docker.io && service docker start), "
            "set DOCKER_HOST to one, or use --engine native"
        ) from error
    if found.api.base_url.startswith(("http://localhost", "http+docker://")):
        return found
    raise EngineUnavailable(
        f"the Docker daemon at {found.api.base_url} is on another machine: engines are published on its loopback only; "
        "use --engine external for brokers elsewhere"
    )


def has_image(daemon: docker.DockerClient, reference: str) -> bool:
    try:
        daemon.images.get(reference)
    except ImageNotFound:
        return False
    return True


def pull(daemon: docker.DockerClient, reference: str) -> bool:
    """True when the image is there now; False when its registry cannot be reached or does not give it."""
    try:
        daemon.images.pull(reference)
    except (APIError, DaemonGone):
        return False
    return True


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
        return cast(int, probe.getsockname()[1])


class Running:
    """One broker's container, from creation to removal."""

    def __init__(self, recipe: Recipe, run_id: str, log: Path) -> None:
        self._recipe, self._log = recipe, log
        self._box = DockerContainer(recipe.image)
        self._box.with_kwargs(labels={RUN_LABEL: run_id})
        self._box.with_envs(**recipe.environment)
        if recipe.command:
            self._box.with_command(list(recipe.command))
        for path, content in recipe.files.items():
            self._box.with_copy_into_container(content, path)
        # The client takes (address, port); the wrapper's own method only knows how to publish on all addresses.
        ports = cast(dict[str, Any], self._box.ports)
        ports[f"{recipe.port}/tcp"] = (LOOPBACK, recipe.port)

    def start(self) -> None:
        """Returns when the broker holds a connection. Raises EngineUnavailable, and leaves nothing behind."""
        try:
            self._box.start()
            self._wait_until_served()
        except (DockerException, DaemonGone) as error:
            self.remove()
            raise EngineUnavailable(f"{self._recipe.image} does not start: {error}") from error
        except BaseException:
            self.remove()
            raise

    def remove(self) -> None:
        """Stop and remove the container, keep its log. Idempotent."""
        with contextlib.suppress(NotFound):
            self._keep_log()
            self._box.stop()

    def kill(self) -> None:
        """SIGKILL, and wait until it is dead."""
        self._container.kill()
        self._container.wait()

    def pause(self) -> None:
        self._container.pause()

    def resume(self) -> None:
        self._container.unpause()

    def restart(self) -> None:
        """Stop it in order (at most 10 s) and start it on the same port with the same data."""
        self._container.restart(timeout=10)
        self._wait_until_served()

    def alive(self) -> bool:
        try:
            self._container.reload()
        except NotFound:
            return False
        return self._container.status in ("running", "paused")

    @property
    def _container(self) -> Container:
        return self._box.get_wrapped_container()

    def _wait_until_served(self) -> None:
        """Docker's proxy takes connections before the broker does, and then drops them: look for one that holds."""
        deadline = time.monotonic() + START_S
        while not holds_connection(self._recipe.port):
            if not self.alive():
                raise EngineUnavailable(f"{self._recipe.image} ended while it started; {self._last_words()}")
            if time.monotonic() > deadline:
                raise EngineUnavailable(f"{self._recipe.image} is not up after {START_S:g} s; {self._last_words()}")
            time.sleep(0.1)

    def _keep_log(self) -> None:
        if self._box._container is not None:
            self._log.write_bytes(self._container.logs())

    def _last_words(self) -> str:
        lines = self._container.logs(tail=5).decode(errors="replace").split("\n")
        return f"its log ends: {' | '.join(line for line in lines if line)}; all of it is in {self._log}"


def holds_connection(port: int) -> bool:
    """True when a connection stays open for 0.2 s: every broker here waits for its client to speak first."""
    try:
        with socket.create_connection((LOOPBACK, port), timeout=0.2) as connection:
            connection.settimeout(0.2)
            return connection.recv(1) != b""
    except TimeoutError:
        return True
    except OSError:
        return False


def remove_containers(daemon: docker.DockerClient, run_id: str) -> int:
    """Remove every container of a run, running or not; returns how many there were."""
    found = daemon.containers.list(all=True, filters={"label": f"{RUN_LABEL}={run_id}"}, ignore_removed=True)
    for container in found:
        with contextlib.suppress(NotFound, APIError):
            container.remove(force=True, v=True)
    return len(found)
