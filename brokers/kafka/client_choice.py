"""The client that moves messages: columns through librdkafka where they are possible, else plain confluent-kafka.

Both have the interface of ``client_protocols``, so that the adapters above them do not know which one runs. The
variable ``BROKERBENCH_KAFKA_CLIENT`` (``columns`` or ``plain``) forces one; unset, a probe of the library decides.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from brokerbench.brokers.errors import Misuse
from brokerbench.brokers.kafka.client_protocols import ConsumerClient, OnRevoked, ProducerClient, ShareClient
from brokerbench.brokers.kafka.librdkafka import probe

VARIABLE = "BROKERBENCH_KAFKA_CLIENT"


@dataclass(frozen=True, slots=True)
class Choice:
    """The client that runs here, and the reason in words."""

    client: Literal["columns", "plain"]
    reason: str


def choice(*, share: bool = False) -> Choice:
    """``share``: of the consumers of share groups, which need more than producers and other consumers do.

    Raises Misuse for another value of the variable, and where it asks for columns that are not possible here.
    """
    probed = probe.share_supported if share else probe.supported
    match os.environ.get(VARIABLE, ""):
        case "":
            supported, reason = probed()
            return Choice("columns" if supported else "plain", reason)
        case "columns":
            supported, reason = probed()
            if not supported:
                raise Misuse(f"{VARIABLE}=columns: {reason}")
            return Choice("columns", f"{VARIABLE} is set; {reason}")
        case "plain":
            return Choice("plain", f"{VARIABLE} is set")
        case other:
            raise Misuse(f"{VARIABLE} is {other!r}: it must be 'columns', 'plain' or unset")


def new_producer(config: Mapping[str, Any], topic: str, logger: logging.Logger) -> ProducerClient:
    """Raises KafkaException for a configuration that the library refuses; so do the next two."""
    if choice().client == "columns":
        from brokerbench.brokers.kafka.librdkafka.producer import ColumnProducer

        return ColumnProducer(config, topic, logger)
    from brokerbench.brokers.kafka.plain.producer import PlainProducer

    return PlainProducer(config, topic, logger)


def new_consumer(
    config: Mapping[str, Any], topic: str, logger: logging.Logger, on_revoked: OnRevoked | None = None
) -> ConsumerClient:
    """``on_revoked`` is called from within ``receive`` and ``close``."""
    if choice().client == "columns":
        from brokerbench.brokers.kafka.librdkafka.consumer import ColumnConsumer

        return ColumnConsumer(config, topic, logger, on_revoked)
    from brokerbench.brokers.kafka.plain.consumer import PlainConsumer

    return PlainConsumer(config, topic, logger, on_revoked)


def new_share_consumer(config: Mapping[str, Any], topic: str, logger: logging.Logger) -> ShareClient:
    """Joins the group."""
    if choice(share=True).client == "columns":
        from brokerbench.brokers.kafka.librdkafka.share_consumer import ColumnShareConsumer

        return ColumnShareConsumer(config, topic, logger)
    from brokerbench.brokers.kafka.plain.share_consumer import PlainShareConsumer

    return PlainShareConsumer(config, topic, logger)
