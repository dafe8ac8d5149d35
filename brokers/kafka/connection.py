"""The connection that both Kafka profiles use: the endpoint, its administration, and the open clients."""

from __future__ import annotations

from brokerbench.brokers.contract import Opened
from brokerbench.brokers.kafka.admin import KafkaAdmin
from brokerbench.brokers.kafka.producer import KafkaProducer
from brokerbench.brokers.kafka.reader import KafkaReader
from brokerbench.brokers.kafka.version import kafka_version
from brokerbench.brokers.types import Endpoint, ProducerSettings, ReplayStart


class KafkaConnection:
    """Raises Unreachable when nothing answers at the endpoint."""

    def __init__(self, endpoint: Endpoint) -> None:
        self.endpoint = endpoint
        self.admin = KafkaAdmin(endpoint)
        self.opened = Opened()
        self.admin.probe()

    def list_channels(self, prefix: str) -> list[str]:
        return [name for name in self.admin.topics() if name.startswith(prefix)]

    def server_version(self) -> str:
        return kafka_version(self.endpoint)

    def producer(self, channel: str, settings: ProducerSettings) -> KafkaProducer:
        self.admin.partitions(channel)  # raises ChannelMissing now, not as time-outs later
        return self.opened.add(KafkaProducer(self.endpoint, channel, settings))

    def reader(self, channel: str, start: ReplayStart) -> KafkaReader:
        return self.opened.add(KafkaReader(self.endpoint, channel, self.admin.offsets_at(channel, start)))

    def close(self) -> None:
        self.opened.close()
