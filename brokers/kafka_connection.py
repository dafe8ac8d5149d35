"""What both Kafka profiles keep open: the endpoint, its administration, and the objects in use."""

from __future__ import annotations

from typing import TypeVar

from brokers.guard import Closeable, close_all
from brokers.kafka_admin import KafkaAdmin
from brokers.kafka_producer import KafkaProducer
from brokers.kafka_reader import KafkaReader
from brokers.kafka_version import kafka_version
from brokers.types import Endpoint, ProducerSettings, ReplayStart

Thing = TypeVar("Thing", bound=Closeable)


class KafkaConnection:
    """Raises Unreachable when nothing answers at the endpoint."""

    def __init__(self, endpoint: Endpoint) -> None:
        self.endpoint = endpoint
        self.admin = KafkaAdmin(endpoint)
        self._open: list[Closeable] = []
        self.admin.probe()

    def server_version(self) -> str:
        return kafka_version(self.endpoint)

    def producer(self, channel: str, settings: ProducerSettings) -> KafkaProducer:
        self.admin.partitions(channel)  # raises ChannelMissing now, not as time-outs later
        return self.opened(KafkaProducer(self.endpoint, channel, settings))

    def reader(self, channel: str, start: ReplayStart) -> KafkaReader:
        return self.opened(KafkaReader(self.endpoint, channel, self.admin.offsets_at(channel, start)))

    def opened(self, thing: Thing) -> Thing:
        """Remember to close it with the connection."""
        self._open.append(thing)
        return thing

    def close(self) -> None:
        close_all(self._open)
