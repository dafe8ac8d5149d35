"""Amazon SQS under two profiles: a channel is a standard queue, or a FIFO queue called ``<channel>.fifo``.

All consumers of a queue share its messages, whatever their group is called, and partitions mean nothing here.
"""

from __future__ import annotations

from typing import Self

from brokerbench.brokers.declarations import ProfileDeclaration
from brokerbench.brokers.sqs.connection import settings_of
from brokerbench.brokers.sqs.consumer import SqsConsumer
from brokerbench.brokers.sqs.declarations import FIFO, STANDARD
from brokerbench.brokers.sqs.producer import SqsProducer
from brokerbench.brokers.sqs.queues import Queues
from brokerbench.brokers.types import ChannelSpec, ConsumerSettings, Endpoint, ProducerSettings


class SqsStandard:
    """Standard queues. See ``settings_of`` for addresses, options and secrets."""

    def __init__(self, queues: Queues) -> None:
        self._queues = queues

    @classmethod
    def connect(cls, endpoint: Endpoint) -> Self:
        return cls(Queues(settings_of(endpoint), fifo=False))

    def declaration(self) -> ProfileDeclaration:
        return STANDARD

    def server_version(self) -> str:
        return self._queues.server_version()

    def create_channel(self, spec: ChannelSpec) -> None:
        """Leases and retention are rounded up to whole seconds; every durability is that of SQS."""
        self._queues.create(spec)

    def delete_channel(self, name: str) -> None:
        """On AWS a queue of that name can be created again after 60 s."""
        self._queues.delete(name)

    def list_channels(self, prefix: str) -> list[str]:
        return self._queues.names(prefix)

    def producer(self, channel: str, settings: ProducerSettings) -> SqsProducer:
        return self._queues.producer(channel, settings)

    def consumer(self, channel: str, settings: ConsumerSettings) -> SqsConsumer:
        return self._queues.consumer(channel, settings)

    def backlog(self, channel: str, group: str) -> int:
        """Visible, in flight and delayed; a queue has one group, whatever it is called."""
        return self._queues.backlog(channel)

    def close(self) -> None:
        self._queues.close()


class SqsFifo:
    """FIFO queues: keys are message groups. Otherwise as ``SqsStandard``."""

    def __init__(self, queues: Queues) -> None:
        self._queues = queues

    @classmethod
    def connect(cls, endpoint: Endpoint) -> Self:
        return cls(Queues(settings_of(endpoint), fifo=True))

    def declaration(self) -> ProfileDeclaration:
        return FIFO

    def server_version(self) -> str:
        return self._queues.server_version()

    def create_channel(self, spec: ChannelSpec) -> None:
        """As for standard queues; the channel of dead letters is a FIFO queue too."""
        self._queues.create(spec)

    def delete_channel(self, name: str) -> None:
        self._queues.delete(name)

    def list_channels(self, prefix: str) -> list[str]:
        return self._queues.names(prefix)

    def producer(self, channel: str, settings: ProducerSettings) -> SqsProducer:
        return self._queues.producer(channel, settings)

    def consumer(self, channel: str, settings: ConsumerSettings) -> SqsConsumer:
        return self._queues.consumer(channel, settings)

    def backlog(self, channel: str, group: str) -> int:
        return self._queues.backlog(channel)

    def close(self) -> None:
        self._queues.close()
