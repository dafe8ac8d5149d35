"""A plain ``ShareConsumer``: poll, acknowledge each message, commit. The group must begin at the earliest message."""

from __future__ import annotations

from argparse import Namespace

from confluent_kafka import ShareConsumer
from confluent_kafka.admin import (  # type: ignore[attr-defined]  # the package re-exports without __all__
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    ResourceType,
)

from bench.peers.loop import Clock, Figure, arguments, tell

MAX_POLL_RECORDS = 500
_COMMIT_S = 10.0


def consume(given: Namespace) -> Figure:
    _from_earliest(given.address, given.group)
    consumer = ShareConsumer(
        {
            "bootstrap.servers": given.address,
            "group.id": given.group,
            "share.acknowledgement.mode": "explicit",
            "max.poll.records": given.batch,
            "socket.nagle.disable": True,
        }
    )
    consumer.subscribe([given.channel])

    def take() -> int:
        messages = [message for message in consumer.poll(10.0).records() if message.error() is None]
        for message in messages:
            consumer.acknowledge(message)
        if not messages:
            raise RuntimeError("no message for 10 s")
        consumer.commit_sync(_COMMIT_S)
        return sum(bool(message.value()) for message in messages)

    count = 0
    while count < given.warmup:
        count += take()
    clock, count = Clock(), 0
    while count < given.messages:
        count += take()
    return clock.figure(count)


def _from_earliest(address: str, group: str) -> None:
    admin = AdminClient({"bootstrap.servers": address})
    earliest = ConfigEntry("share.auto.offset.reset", "earliest", incremental_operation=AlterConfigOpType.SET)
    wanted = ConfigResource(ResourceType.GROUP, group, incremental_configs=[earliest])
    for future in admin.incremental_alter_configs([wanted]).values():
        future.result()


if __name__ == "__main__":
    tell(consume(arguments("kafka_share", ("consume",))))
