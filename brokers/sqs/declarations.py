"""The promises of SQS. Operations are cited from the AWS SQS API reference, pages from the SQS developer guide."""

from __future__ import annotations

from collections.abc import Mapping
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
from brokerbench.brokers.sqs.codec import MAX_ENTRIES, MAX_PAYLOAD_BYTES, MAX_REQUEST_BYTES
from brokerbench.brokers.types import AckGranularity, Clock, Durability, Resolution

RETENTION_MIN_S, RETENTION_MAX_S = 60, 14 * 86_400
LEASE_MAX_S = 43_200
_STANDARD = "SQS guide: standard-queues"
_FIFO = "SQS guide: FIFO-queues-understanding-logic"
_ONCE = "SQS guide: FIFO-queues-exactly-once-processing"
_RECEIVE = "SQS API: ReceiveMessage"
_DELETE = "SQS API: DeleteMessage"
_SEND = "SQS API: SendMessage"
_CREATE = "SQS API: CreateQueue"
_OPERATIONS = "derived: no operation of the SQS API reads what was deleted"


_LIMITS = Limits(
    max_message_bytes=MAX_PAYLOAD_BYTES,
    max_request_messages=MAX_ENTRIES,
    max_request_bytes=MAX_REQUEST_BYTES,
    ack_granularity=AckGranularity.MESSAGE,
    settle_resolution=Resolution.REQUEST,
    # SentTimestamp: the service's own time of arrival.
    broker_clock=Clock.BROKER_APPEND,
    broker_clock_resolution_ns=1_000_000,
    has_positions=False,
    has_partitions=False,
    lease_min_s=0.0,
    lease_max_s=LEASE_MAX_S,
    lease_is_per_channel=True,
    retention_min_age_s=RETENTION_MIN_S,
    retention_max_age_s=RETENTION_MAX_S,
    max_unsettled_batches=None,
    max_receive_messages=None,
    payload_encoding="base64: +33 %, and 2 bytes more, or 1 and the key in base64: both count to the message's size",
    drain_proof="GetQueueAttributes: visible, in flight and delayed messages are 0 (the service calls these "
    "approximate), and a long poll comes back empty",
    buffers_ahead=False,
    has_groups=False,
    has_dead_letters=True,
    has_deduplication=False,
)

_REPLAY: Mapping[str, Declaration] = {
    "replay.from_beginning": impossible(_OPERATIONS),
    "replay.from_position": impossible(_OPERATIONS, "there are no positions"),
    "replay.from_time": impossible(_OPERATIONS),
    "replay.independent_reader": impossible(_OPERATIONS, "all consumers of a queue share its messages"),
    "replay.complete": impossible(_OPERATIONS, "no replay"),
    "replay.intact": impossible(_OPERATIONS, "no replay"),
    "replay.order": impossible(_OPERATIONS, "no replay"),
    "replay.time_offset": impossible(_OPERATIONS, "no replay", low=0.0),
}

_RETENTION: Mapping[str, Declaration] = {
    "retention.by_age": guaranteed(_CREATE, "MessageRetentionPeriod, 60 s to 14 d, default 4 d, whole seconds"),
    "retention.by_size": impossible(_CREATE, "no attribute limits the size of a queue"),
    "retention.not_early": guaranteed(
        _CREATE, "counted from the first enqueue; shorter periods apply to old messages too"
    ),
    "retention.overshoot": bounded(
        _CREATE, 0.0, None, "no bound is documented; only a change of the period is, with up to 15 minutes"
    ),
    "retention.overshoot_large_segment": impossible(
        "derived: no segments are documented", "there are no segments", low=0.0
    ),
    "retention.size_excess": impossible(_CREATE, "there is no limit of size", low=0.0),
    "retention.unread_survives": impossible(_CREATE, "expiry does not ask whether a message was read"),
    "retention.unacknowledged_survives": impossible(_CREATE, "messages in flight expire as well"),
    "retention.acknowledged_kept": impossible(_DELETE, "acknowledging deletes"),
}

_BOTH: Mapping[str, Declaration] = {
    "delivery.progress": PROGRESS,
    "delivery.no_loss": guaranteed(
        _STANDARD, "stored in several availability zones before the answer; until retention"
    ),
    "delivery.no_phantom": guaranteed("derived: messages come from SendMessage only"),
    "delivery.intact": guaranteed(_SEND, "bodies are text: bytes travel in base64", Provider.ADAPTER),
    "delivery.key": guaranteed(_SEND, "the message group, or in a standard queue a part of the body", Provider.ADAPTER),
    "delivery.place": impossible(_RECEIVE, "there are no positions"),
    "delivery.own_place": impossible(_RECEIVE, "there are no positions"),
    "delivery.key_partition": impossible(_RECEIVE, "there are no partitions that a client sees"),
    "delivery.count": possible(_RECEIVE, "ApproximateReceiveCount"),
    "delivery.broker_time": guaranteed(_RECEIVE, "SentTimestamp"),
    "delivery.broker_time_order": impossible(_RECEIVE, "there are no positions"),
    "send.settled_once": guaranteed("derived: the adapter matches each answer's ids and entries", by=Provider.ADAPTER),
    "redelivery.after_release": guaranteed("SQS API: ChangeMessageVisibility", "a visibility timeout of 0"),
    **_REPLAY,
    **_RETENTION,
}

_BEST_EFFORT = possible(_STANDARD, "best effort")

_DURABILITY = dict.fromkeys(
    Durability, "no choice: SQS stores a message on several servers before it answers (an emulator: in its memory)"
)

STANDARD = ProfileDeclaration(
    profile="sqs-standard",
    product="Amazon SQS",
    summary="A standard queue: one group of competing consumers (group names mean nothing), at least once, in any "
    "order. Keys travel in the message and steer nothing. Sends are never repeated. Leases are whole seconds, "
    "rounded up.",
    limits=_LIMITS,
    durability=_DURABILITY,
    properties={
        **_BOTH,
        "delivery.no_duplicate": possible(_DELETE, "at least once: a deleted message may come back"),
        "ordering.channel": _BEST_EFFORT,
        "ordering.per_key.one_consumer": _BEST_EFFORT,
        "ordering.per_key.three_consumers": _BEST_EFFORT,
        "ordering.per_key.several_producers": _BEST_EFFORT,
        "ordering.per_key.after_redelivery": possible(_STANDARD, "later messages do not wait for a failed one"),
    },
)

FIFO = ProfileDeclaration(
    profile="sqs-fifo",
    product="Amazon SQS",
    summary="A FIFO queue: keys are message groups, all messages without key are one group; one group of competing "
    "consumers (group names mean nothing). Requests that share a message group are sent one after the other. "
    "Without dedup_ids every message gets an id of its own. Leases are whole seconds, rounded up.",
    limits=replace(_LIMITS, has_deduplication=True),
    durability=_DURABILITY,
    properties={
        **_BOTH,
        "delivery.no_loss": guaranteed(_STANDARD, "the page speaks of standard queues; until retention"),
        "delivery.no_duplicate": guaranteed(_ONCE, "if it is acknowledged within its lease"),
        "ordering.channel": possible(_FIFO, "order is per message group; it holds with one key"),
        "ordering.per_key.one_consumer": guaranteed(_FIFO, "sends of unknown fate excepted"),
        "ordering.per_key.three_consumers": guaranteed(
            _RECEIVE, "a group is locked while one of its messages is in flight"
        ),
        "ordering.per_key.several_producers": guaranteed(_FIFO, "in the order of arrival"),
        "ordering.per_key.after_redelivery": guaranteed(
            _RECEIVE, "a group is locked while one of its messages is in flight; those of the same receive are out"
        ),
    },
)
