"""The promises of Redis Streams, as this adapter uses it. Command pages are those of redis.io/docs."""

from __future__ import annotations

from brokerbench.brokers.declarations import (
    PROGRESS,
    Limits,
    ProfileDeclaration,
    Provider,
    bounded,
    guaranteed,
    impossible,
    possible,
)
from brokerbench.brokers.types import AckGranularity, Clock, Durability, Resolution

_GUIDE = "redis.io/docs: develop/data-types/streams"
_XACK = "redis.io/docs: commands/xack"
_XADD = "redis.io/docs: commands/xadd"
_XRANGE = "redis.io/docs: commands/xrange"
_XREAD = "redis.io/docs: commands/xread"
_XTRIM = "redis.io/docs: commands/xtrim"


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
        "delivery.progress": PROGRESS,
        "delivery.no_loss": guaranteed(
            f"{_GUIDE} (consumer groups); operate/oss_and_stack/management/persistence",
            "pending until XACK. What survives a loss of power depends on appendfsync; 'strict' waits for WAITAOF "
            "(with appendfsync everysec: one request a second)",
        ),
        "delivery.no_phantom": guaranteed("derived: entries come from XADD only"),
        "delivery.no_duplicate": guaranteed(_XACK, "XACK removes the entry from the pending list"),
        "delivery.intact": guaranteed("redis.io/docs: develop/reference/protocol-spec", "bulk strings are binary safe"),
        "delivery.key": guaranteed(
            "derived: the key is a field of the entry, and entries are immutable", by=Provider.ADAPTER
        ),
        "delivery.place": guaranteed(_XADD, "the id is the answer to XADD, and an entry keeps it"),
        "delivery.own_place": guaranteed(_XADD, "ids are unique in a stream"),
        "delivery.key_partition": guaranteed(
            "derived: the adapter chooses the stream by the key's checksum", by=Provider.ADAPTER
        ),
        "delivery.count": guaranteed("redis.io/docs: commands/xpending", "the number of times it was delivered"),
        "delivery.broker_time": guaranteed(f"{_XADD} (ids)", "ids begin with the server's time in ms"),
        "delivery.broker_time_order": guaranteed(f"{_XADD} (ids)", "an id is greater than all before it"),
        "send.settled_once": guaranteed("derived: the adapter matches answers and commands", by=Provider.ADAPTER),
        "replay.from_beginning": guaranteed(_XREAD, "acknowledged entries stay in the stream"),
        "replay.from_position": guaranteed(_XREAD, "after any id"),
        "replay.from_time": guaranteed(_XRANGE, "ids begin with the server's time in ms"),
        "replay.independent_reader": guaranteed(_XREAD, "readers outside groups share nothing"),
        "replay.complete": guaranteed(_XRANGE, "until retention removes entries"),
        "replay.intact": guaranteed("derived: entries are immutable"),
        "replay.order": guaranteed(_GUIDE, "id order per stream; a key lives on one stream"),
        "replay.time_offset": bounded(f"{_XADD} (ids)", 0.0, 1.0, "ids have a resolution of 1 ms"),
        "ordering.channel": possible("derived: streams are read side by side", "holds with one partition"),
        "ordering.per_key.one_consumer": guaranteed(_GUIDE, "id order per stream; a key lives on one stream"),
        "ordering.per_key.three_consumers": possible(
            _GUIDE, "a group serves whoever asks first: one stream is not assigned to one consumer"
        ),
        "ordering.per_key.several_producers": guaranteed(
            _XADD, "ids grow in order of arrival; each producer sends on one connection"
        ),
        "ordering.per_key.after_redelivery": possible(
            "redis.io/docs: commands/xautoclaim", "later entries are delivered while the failed one waits"
        ),
        "redelivery.after_release": guaranteed(
            "redis.io/docs: commands/xclaim (IDLE)",
            "XNACK exists from 8.8; before, the adapter ages the entry by XCLAIM so that it can be claimed at once; "
            "others of the group look for such entries every 0.2 s",
            Provider.ADAPTER,
        ),
        "retention.by_age": guaranteed(
            _XTRIM, "MINID, applied by enforce_retention; no policy of its own", Provider.ADAPTER
        ),
        "retention.by_size": guaranteed(
            _XTRIM, "MAXLEN in messages, applied by enforce_retention; none in bytes", Provider.ADAPTER
        ),
        "retention.not_early": guaranteed(
            _XTRIM,
            "exact by age; a limit in messages is shared out evenly over the partitions, so it is exact with one",
            Provider.ADAPTER,
        ),
        "retention.overshoot": bounded(
            _XTRIM,
            0.0,
            1.0,
            "as late as enforce_retention is called, nothing beyond that; the bound supposes twice a second",
            Provider.ADAPTER,
        ),
        "retention.overshoot_large_segment": bounded(
            _XTRIM, 0.0, 1.0, "there are no segments: as retention.overshoot", Provider.ADAPTER
        ),
        "retention.size_excess": bounded(
            _XTRIM, 0.0, 0.01, "after enforce_retention; the share of a partition is rounded up", Provider.ADAPTER
        ),
        "retention.unread_survives": impossible(_XTRIM, "trimming removes entries that no group has read"),
        "retention.unacknowledged_survives": impossible(
            "redis.io/docs: commands/xreadgroup", "the pending list keeps the id, the content is gone"
        ),
        "retention.acknowledged_kept": guaranteed(_XACK, "XACK leaves the entry in the stream"),
    },
)
