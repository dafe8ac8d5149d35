"""How each broker runs in a container: with its published image's programs, or with this host's in a local image.

A broker listens on the same port inside its container and outside, so that the addresses it hands out (Kafka's
advertised listener, queue URLs) are right on both sides. Inside it listens on all addresses, because that is where
Docker's proxy reaches it; the container's own network, and publishing on 127.0.0.1, keep it to this host.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from brokerbench.bench.engines import catalogue, local_images, prepare
from brokerbench.bench.engines.base import EngineSpec
from brokerbench.bench.engines.local_images import LocalImage
from brokerbench.brokers.types import Endpoint

_DATA = "/tmp/brokerbench"
_PROPERTIES = "/tmp/brokerbench.properties"
_EVERYWHERE = "0.0.0.0"


@dataclass(frozen=True, slots=True)
class Recipe:
    """A container's command, environment and files; an empty ``command`` is the image's own."""

    endpoint: Endpoint
    command: tuple[str, ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict)
    files: Mapping[str, bytes] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Cook:
    """One broker: how a published or a local image runs it on a port, and the contents of the local one."""

    published: Callable[[EngineSpec, int], Recipe]
    local: Callable[[EngineSpec, int], Recipe]
    image: Callable[[EngineSpec], LocalImage]


def _redis(spec: EngineSpec, port: int, program: str = "redis-server") -> Recipe:
    # Protected mode refuses clients from outside the container's own loopback.
    options = (*catalogue.redis_options(spec, port, _EVERYWHERE, "/tmp"), "--protected-mode", "no")
    return Recipe(catalogue.redis_endpoint(port), (program, *options))


def _kafka(spec: EngineSpec, port: int, form: Sequence[str], serve: Sequence[str]) -> Recipe:
    """The log directory is formatted at the first start only."""
    properties = catalogue.kafka_properties(spec, port, port - 1, _EVERYWHERE, _DATA)
    formatting = shlex.join([*form, *catalogue.kafka_format_options(_PROPERTIES)])
    script = f"[ -e {_DATA}/meta.properties ] || {formatting} || exit; exec {shlex.join([*serve, _PROPERTIES])}"
    return Recipe(
        catalogue.kafka_endpoint(port),
        ("/bin/sh", "-c", script),
        {"KAFKA_HEAP_OPTS": " ".join(catalogue.KAFKA_HEAP)},
        {_PROPERTIES: properties.encode()},
    )


def _localstack(spec: EngineSpec, port: int, command: tuple[str, ...] = ()) -> Recipe:
    environment = {**spec.settings, "GATEWAY_LISTEN": f"{_EVERYWHERE}:{port}"}
    return Recipe(catalogue.sqs_endpoint(port), command, environment)


def _published_kafka(spec: EngineSpec, port: int) -> Recipe:
    programs = "/opt/kafka/bin"
    return _kafka(spec, port, [f"{programs}/kafka-storage.sh"], [f"{programs}/kafka-server-start.sh"])


def _local_kafka(spec: EngineSpec, port: int) -> Recipe:
    java = [str(prepare.java()), *catalogue.KAFKA_HEAP, "-cp", f"{prepare.kafka()}/*"]
    return _kafka(spec, port, [*java, "kafka.tools.StorageTool"], [*java, "kafka.Kafka"])


COOKS: Mapping[str, Cook] = {
    "redis": Cook(
        _redis,
        lambda spec, port: _redis(spec, port, str(prepare.redis())),
        lambda spec: LocalImage("redis", spec.version, (prepare.redis(),)),
    ),
    "kafka": Cook(
        _published_kafka,
        _local_kafka,
        lambda spec: LocalImage(
            "kafka", spec.version, (java := prepare.java(), java.resolve().parents[1], prepare.kafka())
        ),
    ),
    "sqs": Cook(
        _localstack,
        lambda spec, port: _localstack(spec, port, (str(prepare.localstack()), *catalogue.LOCALSTACK_MODULE)),
        lambda spec: LocalImage("sqs", spec.version, local_images.python_roots(prepare.localstack().parents[1])),
    ),
}
"""By ``EngineSpec.name``."""
