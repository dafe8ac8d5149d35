"""How each broker is run in a container: by its published image's own programs, or by this host's in a local image.

A broker listens on the same port inside its container and outside, so that the addresses it hands out (Kafka's
advertised listener, queue URLs) are right on both sides. Inside it listens on all addresses, because that is where
Docker's proxy reaches it; the container's own network, and publishing on 127.0.0.1, keep it to this host.
"""

from __future__ import annotations

import base64
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from shlex import quote

from bench.engines import images, prepare
from bench.engines.base import LOOPBACK, EngineSpec
from bench.engines.images import LocalImage
from brokers.types import Endpoint

_DATA = "/tmp/brokerbench"
_PROPERTIES = "/tmp/brokerbench.properties"
_HEAP = ("-Xms256m", "-Xmx1g")


@dataclass(frozen=True, slots=True)
class Recipe:
    """What to run in a container; an empty ``command`` is the image's own."""

    endpoint: Endpoint
    command: tuple[str, ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict)
    files: Mapping[str, bytes] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Cook:
    """One broker: how it is run on a port by a published or by a local image, and what the local one is made of."""

    published: Callable[[EngineSpec, int], Recipe]
    local: Callable[[EngineSpec, int], Recipe]
    image: Callable[[EngineSpec], LocalImage]


def _redis(spec: EngineSpec, port: int, program: str = "redis-server") -> Recipe:
    # Protected mode refuses whoever does not come from the container's own loopback.
    own = {"bind": "0.0.0.0", "protected-mode": "no", "port": str(port), "dir": "/tmp"}
    options = [word for name, value in {**spec.settings, **own}.items() for word in (f"--{name}", value)]
    return Recipe(Endpoint("redis", f"redis://{LOOPBACK}:{port}/0"), (program, *options))


def _kafka(spec: EngineSpec, port: int, form: Sequence[str], serve: Sequence[str]) -> Recipe:
    """The log directory is formatted once; after a restart it is found."""
    controller = f"{LOOPBACK}:{port - 1}"
    own = {
        "listeners": f"PLAINTEXT://0.0.0.0:{port},CONTROLLER://{controller}",
        "advertised.listeners": f"PLAINTEXT://{LOOPBACK}:{port}",
        "controller.quorum.voters": f"1@{controller}",
        "log.dirs": _DATA,
    }
    properties = "".join(f"{name}={value}\n" for name, value in {**spec.settings, **own}.items())
    cluster = base64.urlsafe_b64encode(uuid.uuid4().bytes).rstrip(b"=").decode()
    formatting = _shell(*form, "format", "--cluster-id", cluster, "--config", _PROPERTIES)
    script = f"[ -e {_DATA}/meta.properties ] || {formatting} || exit; exec {_shell(*serve, _PROPERTIES)}"
    endpoint = Endpoint("kafka", f"{LOOPBACK}:{port}")
    return Recipe(
        endpoint, ("/bin/sh", "-c", script), {"KAFKA_HEAP_OPTS": " ".join(_HEAP)}, {_PROPERTIES: properties.encode()}
    )


def _localstack(spec: EngineSpec, port: int, command: tuple[str, ...] = ()) -> Recipe:
    endpoint = Endpoint(
        "sqs",
        f"http://{LOOPBACK}:{port}",
        {"region": "us-east-1"},
        {"access_key_id": "test", "secret_access_key": "test"},
    )
    return Recipe(endpoint, command, {**spec.settings, "GATEWAY_LISTEN": f"0.0.0.0:{port}"})


def _published_kafka(spec: EngineSpec, port: int) -> Recipe:
    programs = "/opt/kafka/bin"
    return _kafka(spec, port, [f"{programs}/kafka-storage.sh"], [f"{programs}/kafka-server-start.sh"])


def _local_kafka(spec: EngineSpec, port: int) -> Recipe:
    java = [str(prepare.java()), *_HEAP, "-cp", f"{prepare.kafka()}/*"]
    return _kafka(spec, port, [*java, "kafka.tools.StorageTool"], [*java, "kafka.Kafka"])


def _shell(*words: str) -> str:
    return " ".join(map(quote, words))


def _java_home() -> Path:
    return prepare.java().resolve().parents[1]


COOKS: Mapping[str, Cook] = {
    "redis": Cook(
        _redis,
        lambda spec, port: _redis(spec, port, str(prepare.redis())),
        lambda spec: LocalImage("redis", spec.version, (prepare.redis(),)),
    ),
    "kafka": Cook(
        _published_kafka,
        _local_kafka,
        lambda spec: LocalImage("kafka", spec.version, (prepare.java(), _java_home(), prepare.kafka())),
    ),
    "sqs": Cook(
        _localstack,
        lambda spec, port: _localstack(spec, port, (str(prepare.localstack()), "-m", "localstack.runtime.main")),
        lambda spec: LocalImage("sqs", spec.version, images.python_roots(prepare.localstack().parents[1])),
    ),
}
"""By ``EngineSpec.name``."""
