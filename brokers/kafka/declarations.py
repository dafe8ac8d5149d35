"""The promises of the two Kafka profiles. Sources: Kafka's documentation and settings (4.4), KIPs.

They hold for the settings of the native engine; ``settings.declared`` derives those of any other broker.
"""

from __future__ import annotations

from dataclasses import replace

from brokerbench.brokers.declarations import (
    PROGRESS,
    Declaration,
    Limits,
    ProfileDeclaration,
    Provider,
    bounded,
    guaranteed,
    impossible,
    possible,
)
from brokerbench.brokers.types import AckGranularity, Clock, Durability, Resolution

MAX_REQUEST_BYTES = 1_048_588
"""Kafka's default ``message.max.bytes``: one record batch, with its header of about 70 bytes."""
BATCH_BYTES = 88
"""A record batch's own bytes around one message without key and attributes."""
MAX_PAYLOAD_BYTES = MAX_REQUEST_BYTES - BATCH_BYTES
MAX_POLL_RECORDS = 500
"""Asked of each ``ShareConsumer.poll``; the client calls it "best-effort", and 1,900 were seen."""

_DESIGN = "kafka.apache.org/44/design/design"
_CONSUMER = "kafka.apache.org/44/javadoc, KafkaConsumer"
_SHARE = "kafka.apache.org/44/javadoc, KafkaShareConsumer; KIP-932"
_TOPIC = "kafka.apache.org/44/configuration/topic-configs"
_LOG = "Kafka source, UnifiedLog.scala (deleteRetentionMsBreachedSegments)"


_SEGMENT_S = 1.0
_SCHEDULING_S = 3.5
"""Time to schedule a roll and a check, on a shared machine."""


def removal_lag_s(check_interval_s: float) -> float:
    """Longest time from an age limit until the message cannot be read any more, with segments of 1 s.

    ``file.delete.delay.ms`` adds nothing: a log begins later at once, and its files go after the delay.
    """
    return _SEGMENT_S + check_interval_s + _SCHEDULING_S


def overshoot(check_interval_s: float) -> Declaration:
    return bounded(
        f"derived: segment.ms + log.retention.check.interval.ms, and the time to schedule both; {_LOG}",
        0.0,
        removal_lag_s(check_interval_s),
        f"for segments of {_SEGMENT_S:g} s and a check every {check_interval_s:g} s on a shared machine (Kafka "
        "documents no bound); Kafka's defaults are 7 days (or 1 GiB) and 5 minutes",
    )


# Both profiles use the topic as the same log.
_OF_THE_LOG = {
    "delivery.progress": PROGRESS,
    "delivery.no_loss": guaranteed(
        f"{_DESIGN}, message delivery semantics",
        "acks=all; with one replica an acknowledged message is in one machine's page cache (durability strict: on "
        "its disk)",
    ),
    "delivery.no_phantom": guaranteed(f"{_DESIGN}, message delivery semantics"),
    "delivery.intact": guaranteed("kafka.apache.org/44/implementation/message-format (CRC of each record batch)"),
    "delivery.key": guaranteed("kafka.apache.org/44/implementation/message-format (the key of a record)"),
    "delivery.place": guaranteed(
        f"{_DESIGN}, message delivery semantics",
        "an offset never changes; a repeated request is recognised by the idempotent producer (durability default or "
        "strict)",
    ),
    "delivery.own_place": guaranteed(f"{_DESIGN}, the log", "offsets count the records of a partition"),
    "delivery.key_partition": guaranteed(
        f"{_DESIGN}, the producer", "a key stays on one partition as long as their number does not change"
    ),
    "delivery.broker_time": guaranteed(
        f"{_TOPIC}, message.timestamp.type=LogAppendTime", "the adapter creates its topics so"
    ),
    "delivery.broker_time_order": guaranteed(
        f"{_TOPIC}, message.timestamp.type=LogAppendTime", "as long as the clock of the broker's host is not set back"
    ),
    "send.settled_once": guaranteed("librdkafka: one delivery report for each message"),
    "replay.from_beginning": guaranteed(f"{_CONSUMER}.seekToBeginning"),
    "replay.from_position": guaranteed(f"{_CONSUMER}.seek"),
    "replay.from_time": guaranteed(
        f"{_CONSUMER}.offsetsForTimes",
        "by the broker's append time: the adapter creates topics with message.timestamp.type=LogAppendTime",
    ),
    "replay.independent_reader": guaranteed(f"{_CONSUMER}.assign", "a reader by assignment joins no group"),
    "replay.complete": guaranteed(f"{_DESIGN}, the log", "within retention, without compaction"),
    "replay.intact": guaranteed("kafka.apache.org/44/implementation/message-format (CRC of each record batch)"),
    "replay.order": guaranteed(f"{_DESIGN}, the log", "a key stays on one partition, a partition is read by offset"),
    "replay.time_offset": bounded(
        f"{_CONSUMER}.offsetsForTimes: the earliest offset whose timestamp is at or after the one asked for",
        0.0,
        None,
        "never earlier; up to the next message on each partition; times have a resolution of 1 ms",
    ),
    "retention.by_age": guaranteed(f"{_TOPIC}, retention.ms"),
    "retention.by_size": guaranteed(
        f"{_TOPIC}, retention.bytes", "Kafka limits each partition; the adapter divides the limit evenly among them"
    ),
    "retention.not_early": guaranteed(
        _LOG,
        "a segment goes when its youngest message is too old, or when the others alone reach the size limit; with "
        "uneven keys one partition can reach its share of a size limit before the channel does",
    ),
    "retention.overshoot": overshoot(0.5),
    "retention.overshoot_large_segment": bounded(
        f"derived: a segment goes as a whole, judged by its youngest message; {_LOG}",
        0.0,
        None,
        "the oldest message waits until the youngest of its segment has expired: no bound but the segment's span",
    ),
    "retention.size_excess": bounded(
        f"{_TOPIC}, retention.bytes and segment.bytes; {_LOG}",
        None,
        1.0,
        "up to one segment for each partition and what arrives between two checks; segment.bytes is at least 1 MiB; "
        "the bound holds where a partition's limit is at least one segment",
    ),
    "retention.unread_survives": impossible(f"{_TOPIC}, retention.ms", "retention does not look at who has read"),
    "retention.unacknowledged_survives": impossible(
        f"{_TOPIC}, retention.ms", "retention does not look at who has acknowledged"
    ),
    "retention.acknowledged_kept": guaranteed(f"{_TOPIC}, retention.ms"),
}

_LIMITS = Limits(
    max_message_bytes=MAX_PAYLOAD_BYTES,
    max_request_messages=None,
    max_request_bytes=MAX_REQUEST_BYTES,
    ack_granularity=AckGranularity.UP_TO_POSITION,
    settle_resolution=Resolution.MESSAGE,
    broker_clock=Clock.BROKER_APPEND,
    broker_clock_resolution_ns=1_000_000,
    has_positions=True,
    has_partitions=True,
    lease_min_s=None,
    lease_max_s=None,
    lease_is_per_channel=False,
    retention_min_age_s=0.001,
    retention_max_age_s=None,
    max_unsettled_batches=None,
    max_receive_messages=None,
    payload_encoding="bytes",
    drain_proof="the group's committed offset is the end of the log on every partition",
    buffers_ahead=True,
    retention_lag_s=removal_lag_s(0.5),
    has_dead_letters=False,
    has_deduplication=False,
)

_DURABILITY = {
    Durability.RELAXED: "acks=1, no idempotence: the leader's page cache",
    Durability.DEFAULT: "acks=all, enable.idempotence=true: the page cache of every replica in sync",
    Durability.STRICT: "acks=all, enable.idempotence=true, flush.messages=1 (fsync before the answer), "
    "min.insync.replicas=2 where there are replicas",
}

KAFKA = ProfileDeclaration(
    profile="kafka",
    product="Apache Kafka",
    summary="a topic read by a consumer group that commits offsets explicitly; acks=all, idempotent producer",
    limits=_LIMITS,
    durability=_DURABILITY,
    properties=_OF_THE_LOG
    | {
        "delivery.no_duplicate": guaranteed(
            "derived: a group resumes at its committed offset, and the adapter rewinds only to unacknowledged messages",
            "an idle group forgets its offsets after offsets.retention.minutes (7 days)",
        ),
        "delivery.count": impossible(_CONSUMER, "a consumer group counts no deliveries"),
        "ordering.channel": possible(
            f"{_CONSUMER}: order per partition only", "holds with one partition; several are read independently"
        ),
        "ordering.per_key.one_consumer": guaranteed(
            f"{_DESIGN}, the producer", "a key stays on one partition as long as their number does not change"
        ),
        "ordering.per_key.three_consumers": guaranteed(
            f"{_CONSUMER}: one member of a group owns a partition",
            "when members come and go, unacknowledged messages are delivered once more",
        ),
        "ordering.per_key.several_producers": guaranteed(
            f"{_DESIGN}, message delivery semantics", "with the idempotent producer (durability default or strict)"
        ),
        "ordering.per_key.after_redelivery": guaranteed(
            "derived: release seeks back, so that everything later on the partition comes again behind it",
            "at the price of duplicates: all later deliveries of that partition are repeated",
            Provider.ADAPTER,
        ),
        "redelivery.after_release": guaranteed(
            f"{_CONSUMER}.seek",
            "Kafka has no release: the adapter rewinds its own position on that partition",
            Provider.ADAPTER,
        ),
    },
)

KAFKA_SHARE = ProfileDeclaration(
    profile="kafka-share",
    product="Apache Kafka",
    summary="a topic read by a share group (KIP-932), each message accepted, released or rejected by itself",
    limits=replace(
        _LIMITS,
        ack_granularity=AckGranularity.MESSAGE,
        lease_min_s=1.0,
        lease_max_s=3600.0,
        lease_is_per_channel=True,
        has_dead_letters=True,
        dead_letter_prefix="dlq.",
        max_unsettled_batches=1,
        drain_proof="every place between the channel's bounds was delivered and accepted; this client cannot ask for "
        "a share group's offsets",
    ),
    durability=_DURABILITY,
    properties=_OF_THE_LOG
    | {
        "delivery.no_duplicate": guaranteed(
            f"derived: an accepted record's state is final, and is stored before the answer; {_SHARE}",
            "an unsettled delivery whose lock ended is delivered again",
        ),
        "delivery.count": guaranteed(
            f"{_SHARE}, ConsumerRecord.deliveryCount",
            "the client may fetch messages that it never returns: deliveries that are counted all the same",
        ),
        "replay.independent_reader": guaranteed(
            f"{_CONSUMER}.assign", "the topic's log, read by a plain consumer outside the share group"
        ),
        "replay.order": possible(
            f"{_SHARE}: order is promised within one poll and partition only",
            "a replay is in the order of the log; the first delivery need not be",
        ),
        "ordering.channel": possible(_SHARE, "order is promised within one poll and partition only"),
        "ordering.per_key.one_consumer": possible(
            _SHARE, "offsets ascend within one poll and partition; nothing is promised across polls"
        ),
        "ordering.per_key.three_consumers": possible(_SHARE, "members share a partition and work side by side"),
        "ordering.per_key.several_producers": possible(_SHARE, "as with one producer"),
        "ordering.per_key.after_redelivery": possible(_SHARE, "later messages do not wait for a released one"),
        "redelivery.after_release": guaranteed(
            f"{_SHARE}, AcknowledgeType.RELEASE", "until the delivery limit is reached"
        ),
    },
)
