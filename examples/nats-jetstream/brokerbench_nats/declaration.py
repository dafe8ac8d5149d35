"""The promises of NATS JetStream, as this adapter uses it. Other properties are undeclared, which is legal."""

from __future__ import annotations

from brokerbench.brokers.declarations import PROGRESS, Limits, ProfileDeclaration, guaranteed, impossible, possible
from brokerbench.brokers.types import AckGranularity, Clock, Resolution

LARGEST_BYTES = 1 << 20
"""``max_payload`` of a server with default settings; headers count."""
LONGEST_SUBJECT = 3000
"""Bytes of a subject: ``max_control_line`` is 4096 bytes, for the subject and the reply's address together."""

LEAST_LEASE_S = 0.001
"""The adapter's own: the server takes less, but a message is hardly delivered by then."""

_STREAMS = "docs.nats.io: nats-concepts/jetstream/streams"
_CONSUMERS = "docs.nats.io: nats-concepts/jetstream/consumers"
_MODEL = "docs.nats.io: using-nats/developing-with-nats/js/model_deep_dive"


DECLARATION = ProfileDeclaration(
    profile="nats-jetstream",
    product="NATS JetStream",
    summary="One stream per channel, with durable pull consumers as groups.",
    limits=Limits(
        max_message_bytes=LARGEST_BYTES,
        max_request_messages=None,
        max_request_bytes=None,
        ack_granularity=AckGranularity.MESSAGE,
        settle_resolution=Resolution.MESSAGE,
        broker_clock=Clock.BROKER_APPEND,
        # The client asks for a start time in microseconds.
        broker_clock_resolution_ns=1000,
        has_positions=True,
        has_partitions=False,
        lease_min_s=LEAST_LEASE_S,
        lease_max_s=None,
        lease_is_per_channel=True,
        retention_min_age_s=0.1,
        retention_max_age_s=None,
        max_unsettled_batches=None,
        max_receive_messages=None,
        payload_encoding="bytes",
        drain_proof="CONSUMER.INFO: num_pending and num_ack_pending are 0",
        # A pull request that the client gave up may still be filled: these messages are handed over first.
        buffers_ahead=True,
        has_dead_letters=False,
    ),
    properties={
        "delivery.progress": PROGRESS,
        "delivery.no_loss": guaranteed(
            _STREAMS, "redelivered until acknowledged; the disk is synced every sync_interval"
        ),
        "delivery.no_phantom": guaranteed("derived: only what is published to the stream's subjects is stored"),
        "delivery.no_duplicate": possible(
            _MODEL, "at least once: an acknowledgement that is lost or late brings the message again"
        ),
        "delivery.intact": guaranteed("docs.nats.io: reference/nats-protocols/nats-protocol", "payloads have a length"),
        "replay.from_beginning": guaranteed(_CONSUMERS, "DeliverAll on a consumer of its own"),
        "replay.from_position": guaranteed(_CONSUMERS, "DeliverByStartSequence"),
        "replay.from_time": guaranteed(_CONSUMERS, "DeliverByStartTime"),
        "replay.independent_reader": guaranteed(_CONSUMERS, "each consumer has its own state"),
        "replay.complete": guaranteed(_STREAMS, "limits retention: until a limit removes messages"),
        "replay.intact": guaranteed("derived: stored messages do not change"),
        "replay.order": guaranteed(_STREAMS, "one sequence for a stream"),
        "ordering.channel": guaranteed(_STREAMS, "one sequence for a stream, delivered in its order"),
        "ordering.per_key.one_consumer": guaranteed(_STREAMS, "one sequence for a stream"),
        "ordering.per_key.three_consumers": possible(
            _CONSUMERS, "whoever pulls gets the next message; keys are not assigned to anybody"
        ),
        "ordering.per_key.several_producers": guaranteed(
            _STREAMS, "order of arrival, and one connection for each producer"
        ),
        "ordering.per_key.after_redelivery": possible(_CONSUMERS, "later messages are delivered meanwhile"),
        "redelivery.after_release": guaranteed(_CONSUMERS, "a negative acknowledgement (-NAK) brings it again at once"),
        "retention.by_age": guaranteed(_STREAMS, "MaxAge"),
        "retention.by_size": guaranteed(_STREAMS, "MaxBytes, MaxMsgs with DiscardOld"),
        "retention.not_early": guaranteed(_STREAMS),
        "retention.unread_survives": impossible(_STREAMS, "limits hold whether a message was read or not"),
        "retention.unacknowledged_survives": impossible(_STREAMS, "limits hold whether a message was read or not"),
        "retention.acknowledged_kept": guaranteed(_STREAMS, "limits retention: acknowledging removes nothing"),
    },
)
