"""Settings, identity and address of each built-in broker: the same whether it runs as a process or in a container."""

from __future__ import annotations

import base64
import uuid

from brokerbench.bench.engines.base import LOOPBACK, EngineSpec
from brokerbench.brokers.types import Endpoint

KAFKA_HEAP = ("-Xms256m", "-Xmx1g")
LOCALSTACK_MODULE = ("-m", "localstack.runtime.main")


def redis_options(spec: EngineSpec, port: int, bind: str, directory: str) -> list[str]:
    """Arguments of ``redis-server``."""
    settings = {**spec.settings, "bind": bind, "port": str(port), "dir": directory}
    return [word for name, value in settings.items() for word in (f"--{name}", value)]


def redis_endpoint(port: int) -> Endpoint:
    return Endpoint("redis", f"redis://{LOOPBACK}:{port}/0")


def kafka_properties(spec: EngineSpec, port: int, controller_port: int, bind: str, directory: str) -> str:
    """The text of ``server.properties``. Clients are told the loopback address, wherever the broker binds."""
    controller = f"{LOOPBACK}:{controller_port}"
    settings = {
        **spec.settings,
        "listeners": f"PLAINTEXT://{bind}:{port},CONTROLLER://{controller}",
        "advertised.listeners": f"PLAINTEXT://{LOOPBACK}:{port}",
        "controller.quorum.voters": f"1@{controller}",
        "log.dirs": directory,
    }
    return "".join(f"{name}={value}\n" for name, value in settings.items())


def kafka_format_options(properties: str) -> tuple[str, ...]:
    """Arguments of Kafka's storage tool that format a log directory for a new cluster."""
    return "format", "--cluster-id", cluster_id(), "--config", properties


def kafka_endpoint(port: int) -> Endpoint:
    return Endpoint("kafka", f"{LOOPBACK}:{port}")


def cluster_id() -> str:
    """16 random bytes as Kafka writes them. The first bit is 0: an id that begins with "-" is taken for an option."""
    return base64.urlsafe_b64encode((uuid.uuid4().int >> 1).to_bytes(16, "big")).rstrip(b"=").decode()


def sqs_endpoint(port: int) -> Endpoint:
    """Emulators accept any credentials; these are the ones of their own documentation."""
    return Endpoint(
        "sqs",
        f"http://{LOOPBACK}:{port}",
        {"region": "us-east-1"},
        {"access_key_id": "test", "secret_access_key": "test"},
    )
