"""The promises of the memory profile: all that can be promised, as it is the reference."""

from __future__ import annotations

from brokerbench.brokers.declarations import PROGRESS, Limits, ProfileDeclaration, bounded, guaranteed, impossible
from brokerbench.brokers.types import AckGranularity, Clock, Durability, Resolution

_SOURCE = "derived: brokers/memory/log.py, of which this is the specification"
_ALWAYS = guaranteed(_SOURCE)


DECLARATION = ProfileDeclaration(
    profile="memory",
    product="memory",
    summary="The reference: exact semantics of the interface, in one process.",
    limits=Limits(
        max_message_bytes=None,
        max_request_messages=None,
        max_request_bytes=None,
        ack_granularity=AckGranularity.MESSAGE,
        settle_resolution=Resolution.REQUEST,
        broker_clock=Clock.BROKER_APPEND,
        broker_clock_resolution_ns=1,
        has_positions=True,
        has_partitions=True,
        lease_min_s=0.0,
        lease_max_s=None,
        lease_is_per_channel=False,
        retention_min_age_s=0.0,
        retention_max_age_s=None,
        max_unsettled_batches=None,
        max_receive_messages=None,
        payload_encoding="bytes",
        drain_proof="backlog is 0: nothing waits, is held behind a key, or is leased, under the channel's lock",
        buffers_ahead=False,
        has_dead_letters=True,
        has_deduplication=True,
    ),
    durability=dict.fromkeys(Durability, "no choice: the memory of the process"),
    properties={
        "delivery.progress": PROGRESS,
        "delivery.no_loss": guaranteed(_SOURCE, "until retention removes it"),
        "delivery.no_phantom": _ALWAYS,
        "delivery.no_duplicate": guaranteed(_SOURCE, "an acknowledgement after the lease's end is rejected, not lost"),
        "delivery.intact": _ALWAYS,
        "delivery.key": _ALWAYS,
        "delivery.place": _ALWAYS,
        "delivery.own_place": _ALWAYS,
        "delivery.key_partition": _ALWAYS,
        "delivery.count": _ALWAYS,
        "delivery.broker_time": _ALWAYS,
        "delivery.broker_time_order": _ALWAYS,
        "send.settled_once": _ALWAYS,
        "replay.from_beginning": _ALWAYS,
        "replay.from_position": _ALWAYS,
        "replay.from_time": _ALWAYS,
        "replay.independent_reader": _ALWAYS,
        "replay.complete": _ALWAYS,
        "replay.intact": _ALWAYS,
        "replay.order": _ALWAYS,
        "replay.time_offset": bounded(
            _SOURCE, 0.0, 1.0, "the clock resolves 1 ns; the bound leaves room for the next message"
        ),
        "ordering.channel": guaranteed(_SOURCE, "one consumer; keys that are busy wait"),
        "ordering.per_key.one_consumer": _ALWAYS,
        "ordering.per_key.three_consumers": guaranteed(_SOURCE, "a key with an unsettled delivery is locked"),
        "ordering.per_key.several_producers": _ALWAYS,
        "ordering.per_key.after_redelivery": _ALWAYS,
        "redelivery.after_release": _ALWAYS,
        "retention.by_age": _ALWAYS,
        "retention.by_size": _ALWAYS,
        "retention.not_early": _ALWAYS,
        "retention.overshoot": bounded(
            _SOURCE, 0.0, 0.5, "gone at the next operation; the bound leaves room for the probe"
        ),
        "retention.overshoot_large_segment": bounded(_SOURCE, 0.0, 0.5, "there are no segments"),
        "retention.size_excess": bounded(_SOURCE, 0.0, 0.0, "payload bytes or messages"),
        "retention.unread_survives": impossible(_SOURCE, "retention removes what is old, read or not"),
        "retention.unacknowledged_survives": impossible(_SOURCE, "retention removes what is old, delivered or not"),
        "retention.acknowledged_kept": _ALWAYS,
    },
)
