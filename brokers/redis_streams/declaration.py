"""What Redis Streams promises, as this adapter uses it. Command pages are those of redis.io/docs."""

from __future__ import annotations

from brokerbench.brokers.declarations import Declaration, Limits, ProfileDeclaration, Provider, Support
from brokerbench.brokers.types import AckGranularity, Clock, Durability, Resolution

_GUIDE = "redis.io/docs: develop/data-types/streams"
_XTRIM = "redis.io/docs: commands/xtrim"


def _sure(source: str, note: str = "", by: Provider = Provider.BROKER) -> Declaration:
    return Declaration(Support.GUARANTEED, by, source, note)


def _perhaps(source: str, note: str) -> Declaration:
    return Declaration(Support.POSSIBLE, Provider.NOBODY, source, note)


def _never(source: str, note: str) -> Declaration:
    return Declaration(Support.IMPOSSIBLE, Provider.NOBODY, source, note)


def _bound(source: str, low: float, high: float, note: str, by: Provider) -> Declaration:
    return Declaration(Support.GUARANTEED, by, source, note, low=low, high=high)


MAX_PAYLOAD_BYTES = 512 << 20
"""``proto-max-bulk-len``: Redis drops a connection that sends more in one string."""

_AS_THE_SERVER = (
    "answered from memory; the append-only file is synced as the server's appendfsync says (native engine: everysec)"
)

DECLARATION = ProfileDeclaration(
    profile="redis-streams",
    product="Redis",
    summary="Redis Streams with consumer groups; keys are spread over one stream per partition.",
    durability={
        Durability.RELAXED: _AS_THE_SERVER,
        Durability.DEFAULT: _AS_THE_SERVER,
        Durability.STRICT: "WAITAOF 1 0 after each request: in the append-only file on disk before it is acknowledged",
    },
    limits=Limits(
        max_message_bytes=MAX_PAYLOAD_BYTES,
        max_request_messages=None,
        max_request_bytes=None,
        ack_granularity=AckGranularity.MESSAGE,
        settle_resolution=Resolution.REQUEST,
        broker_clock=Clock.BROKER_ID,
        broker_clock_resolution_ns=1_000_000,
        has_positions=True,
        has_partitions=True,
        lease_min_s=0.001,
        lease_max_s=None,
        lease_is_per_channel=True,
        retention_min_age_s=0.0,
        retention_max_age_s=None,
        max_unsettled_batches=None,
        max_receive_messages=None,
        payload_encoding="bytes",
        drain_proof="XINFO GROUPS: lag and pending are 0 on every stream of the channel",
        buffers_ahead=False,
        has_dead_letters=True,
        has_deduplication=False,
    ),
    properties={
        "delivery.no_loss": _sure(
            f"{_GUIDE} (consumer groups); operate/oss_and_stack/management/persistence",
            "pending until XACK. What survives a loss of power depends on appendfsync; 'strict' waits for WAITAOF "
            "(with appendfsync everysec: one request a second)",
        ),
        "delivery.no_phantom": _sure("derived: entries come from XADD only"),
        "delivery.no_duplicate": _sure("redis.io/docs: commands/xack", "XACK removes the entry from the pending list"),
        "delivery.intact": _sure("redis.io/docs: develop/reference/protocol-spec", "bulk strings are binary safe"),
        "replay.from_beginning": _sure("redis.io/docs: commands/xread", "acknowledged entries stay in the stream"),
        "replay.from_position": _sure("redis.io/docs: commands/xread", "after any id"),
        "replay.from_time": _sure("redis.io/docs: commands/xrange", "ids begin with the server's time in ms"),
        "replay.independent_reader": _sure("redis.io/docs: commands/xread", "readers outside groups share nothing"),
        "replay.complete": _sure("redis.io/docs: commands/xrange", "until retention removes entries"),
        "replay.intact": _sure("derived: entries are immutable"),
        "replay.order": _sure(_GUIDE, "id order per stream; a key lives on one stream"),
        "replay.time_offset": _bound(
            "redis.io/docs: commands/xadd (ids)", 0.0, 1.0, "ids have a resolution of 1 ms", Provider.BROKER
        ),
        "ordering.channel": _perhaps("derived: streams are read side by side", "holds with one partition"),
        "ordering.per_key.one_consumer": _sure(_GUIDE, "id order per stream; a key lives on one stream"),
        "ordering.per_key.three_consumers": _perhaps(
            _GUIDE, "a group serves whoever asks first: one stream is not assigned to one consumer"
        ),
        "ordering.per_key.several_producers": _sure(
            "redis.io/docs: commands/xadd", "ids grow in order of arrival; each producer sends on one connection"
        ),
        "ordering.per_key.after_redelivery": _perhaps(
            "redis.io/docs: commands/xautoclaim", "later entries are delivered while the failed one waits"
        ),
        "redelivery.after_release": _sure(
            "redis.io/docs: commands/xclaim (IDLE)",
            "XNACK exists from 8.8; before, the adapter ages the entry by XCLAIM so that it can be claimed at once; "
            "others of the group look for such entries every 0.2 s",
            Provider.ADAPTER,
        ),
        "retention.by_age": _sure(
            _XTRIM, "MINID, applied by enforce_retention; no policy of its own", Provider.ADAPTER
        ),
        "retention.by_size": _sure(
            _XTRIM, "MAXLEN in messages, applied by enforce_retention; none in bytes", Provider.ADAPTER
        ),
        "retention.not_early": _sure(
            _XTRIM,
            "exact by age; a limit in messages is shared out evenly over the partitions, so it is exact with one",
            Provider.ADAPTER,
        ),
        "retention.overshoot": _bound(
            _XTRIM,
            0.0,
            1.0,
            "as late as enforce_retention is called, nothing beyond that; the bound supposes twice a second",
            Provider.ADAPTER,
        ),
        "retention.overshoot_large_segment": _bound(
            _XTRIM, 0.0, 1.0, "there are no segments: as retention.overshoot", Provider.ADAPTER
        ),
        "retention.size_excess": _bound(
            _XTRIM, 0.0, 0.01, "after enforce_retention; the share of a partition is rounded up", Provider.ADAPTER
        ),
        "retention.unread_survives": _never(_XTRIM, "trimming removes entries that no group has read"),
        "retention.unacknowledged_survives": _never(
            "redis.io/docs: commands/xreadgroup", "the pending list keeps the id, the content is gone"
        ),
        "retention.acknowledged_kept": _sure("redis.io/docs: commands/xack", "XACK leaves the entry in the stream"),
    },
)
