"""A plain ``ShareConsumer``: poll, acknowledge each message, commit; with ``--ahead`` without waiting for the answer.

The group must begin at the earliest message.
"""

from __future__ import annotations

from argparse import Namespace

from confluent_kafka import Message, ShareConsumer
from confluent_kafka.admin import (  # type: ignore[attr-defined]  # the package re-exports without __all__
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    ResourceType,
)

from brokerbench.bench.calibration.peers.plain_loop import Figure, Stopwatch, arguments, tell

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

    asked: list[Message] = []

    def take() -> int:
        nonlocal asked
        messages = [message for message in asked or consumer.poll(10.0).records() if message.error() is None]
        for message in messages:
            consumer.acknowledge(message)
        if not messages:
            raise RuntimeError("no message for 10 s")
        if given.ahead:
            consumer.commit_async()
            # The client fetches from now on, while these messages are processed.
            asked = list(consumer.poll(0).records())
        else:
            consumer.commit_sync(_COMMIT_S)
        return sum(bool(message.value()) for message in messages)

    count = 0
    while count < given.warmup:
        count += take()
    clock, count = Stopwatch(), 0
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
