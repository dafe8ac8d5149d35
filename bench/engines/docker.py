"""Brokers in Docker containers, started through testcontainers.

The reaper of testcontainers is off: it would be one more image to pull, and the run's own guard removes containers by
their label, which it notes before the first of them is created. Ports are published on 127.0.0.1 only, with numbers
chosen here: Docker would give a restarted container another one.
"""

from __future__ import annotations

import contextlib
import socket
import sys
from pathlib import Path
from typing import Any, cast
from urllib.parse import urlsplit

import docker
from docker.errors import APIError, DockerException, ImageNotFound, NotFound
from docker.models.containers import Container
from requests.exceptions import ConnectionError as DaemonGone
from testcontainers.core.config import testcontainers_config
from testcontainers.core.container import DockerContainer

from brokerbench.bench.engines import base, local_images
from brokerbench.bench.engines.base import LOOPBACK, EngineKind, EngineSpec
from brokerbench.bench.engines.container_recipes import COOKS, Recipe
from brokerbench.bench.errors import EngineUnavailable
from brokerbench.bench.guard import Guard

testcontainers_config.ryuk_disabled = True

RUN_LABEL = "brokerbench.run"
_START_S = 180.0
_STOP_S = 5


class DockerEngine:
    """One broker in its container, from creation to removal."""

    kind = EngineKind.DOCKER

    def __init__(self, spec: EngineSpec, image: str, recipe: Recipe, port: int, log: Path, run_id: str) -> None:
        self.spec, self.image, self.endpoint = spec, image, recipe.endpoint
        self.settings = {**spec.settings, "image": image}
        self._port, self._log = port, log
        self._box = DockerContainer(image).with_kwargs(labels={RUN_LABEL: run_id}).with_envs(**recipe.environment)
        if recipe.command:
            self._box.with_command(list(recipe.command))
        for path, content in recipe.files.items():
            self._box.with_copy_into_container(content, path)
        # The client takes (address, port); the wrapper's own method publishes on all addresses.
        cast(dict[str, Any], self._box.ports)[f"{port}/tcp"] = (LOOPBACK, port)

    def start(self) -> None:
        """Returns when the broker holds a connection. Raises EngineUnavailable, and leaves no container behind."""
        try:
            self._box.start()
            self._wait_until_served()
        except BaseException as error:
            self.stop()
            if isinstance(error, (DockerException, DaemonGone)):
                raise EngineUnavailable(f"{self.spec.product} does not start from {self.image}: {error}") from error
            raise

    def alive(self) -> bool:
        try:
            self._container.reload()
        except NotFound:
            return False
        return self._container.status in ("running", "paused")

    def pid(self) -> int:
        """On this host; 0, which no process has, where the daemon does not tell."""
        self._container.reload()
        return int(self._container.attrs["State"].get("Pid", 0))

    def log_tail(self) -> str:
        with contextlib.suppress(NotFound):
            self._log.write_bytes(self._container.logs())
        return base.tail(self._log)

    def kill(self) -> None:
        """SIGKILL, and wait until it is dead."""
        self._container.kill()
        self._container.wait()

    def pause(self) -> None:
        self._container.pause()

    def resume(self) -> None:
        self._container.unpause()

    def restart(self) -> None:
        """Stop in order and start again: the same port, the same data."""
        self._container.restart(timeout=_STOP_S)
        self._wait_until_served()

    def stop(self) -> None:
        """Stop in order, then by force; the log is kept, the data go with the container. Idempotent."""
        if self._box._container is None:
            return
        with contextlib.suppress(NotFound):
            if self.alive():
                self._container.stop(timeout=_STOP_S)
            self.log_tail()
            self._box.stop()

    @property
    def _container(self) -> Container:
        return self._box.get_wrapped_container()

    def _wait_until_served(self) -> None:
        """Wait for a connection that holds: Docker's proxy accepts before the broker does, then drops connections."""
        base.wait_until_up(self, lambda: holds_connection(self._port), _START_S)


def start(spec: EngineSpec, logs: Path, guard: Guard) -> DockerEngine:
    """Start one engine. Raises EngineUnavailable."""
    daemon = client()
    image, local = _image(daemon, spec)
    cook = COOKS[spec.name].local if local else COOKS[spec.name].published
    guard.note_container(f"{RUN_LABEL}={guard.run_id}")

    def attempt() -> DockerEngine:
        port = base.free_port()
        engine = DockerEngine(spec, image, cook(spec, port), port, logs / f"{spec.name}.log", guard.run_id)
        try:
            engine.start()
        except EngineUnavailable as problem:
            if any(sign in str(problem) for sign in ("in use", "already allocated")):
                raise base.PortTaken(str(problem)) from problem
            raise
        return engine

    return base.on_a_free_port(attempt)


def available(spec: EngineSpec) -> bool:
    """True when a daemon answers and has an image of this engine: nothing to pull, nothing to build."""
    try:
        daemon = client()
    except EngineUnavailable:
        return False
    return _has(daemon, spec.image) or bool(local_images.tags(daemon, spec.name))


def client() -> docker.DockerClient:
    """A client of the daemon that answers. Raises EngineUnavailable with the remedy."""
    try:
        found = docker.from_env(timeout=60)
        found.ping()
    except (DockerException, DaemonGone) as error:
        raise EngineUnavailable(
            "no Docker daemon answers; install and start one (Debian: apt-get install docker.io && service docker "
            "start), set DOCKER_HOST to one, or use --engine native"
        ) from error
    host = urlsplit(found.api.base_url).hostname
    if host in ("localhost", LOOPBACK, "localnpipe"):
        return found
    raise EngineUnavailable(
        f"the Docker daemon is on another machine ({host}), where engines would be published on its loopback only; "
        "use --engine external for brokers elsewhere"
    )


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


def _image(daemon: docker.DockerClient, spec: EngineSpec) -> tuple[str, bool]:
    """The image to run, and whether it is a local one. In this order: present, pulled, built."""
    if _has(daemon, spec.image):
        return spec.image, False
    if not local_images.tags(daemon, spec.name):
        print(f"pulling {spec.image} (once; a download)", file=sys.stderr, flush=True)
        try:
            daemon.images.pull(spec.image)
            return spec.image, False
        except (APIError, DaemonGone):
            pass  # the registry cannot be reached or lacks it
        print(f"{spec.image} cannot be pulled: a local image is built from native files", file=sys.stderr, flush=True)
    return local_images.build(daemon, COOKS[spec.name].image(spec)), True


def _has(daemon: docker.DockerClient, reference: str) -> bool:
    try:
        daemon.images.get(reference)
    except ImageNotFound:
        return False
    return True
