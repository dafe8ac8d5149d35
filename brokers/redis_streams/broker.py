"""Redis Streams: a channel of n partitions is n streams; groups are consumer groups over all of them.

Keys map to streams by crc32. ``enforce_retention`` applies retention (XTRIM), as Redis has no policy for it.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any, Self

from redis import Redis, exceptions

from brokerbench.brokers.contract import Opened
from brokerbench.brokers.declarations import NOT_TOLD, ProfileDeclaration
from brokerbench.brokers.errors import ChannelMissing, Misuse, Refused, Unsupported
from brokerbench.brokers.redis_streams import codec
from brokerbench.brokers.redis_streams.connection import RedisConnection, connection_settings, translated
from brokerbench.brokers.redis_streams.consumer import RedisConsumer
from brokerbench.brokers.redis_streams.declaration import DECLARATION
from brokerbench.brokers.redis_streams.producer import RedisProducer
from brokerbench.brokers.redis_streams.reader import RedisReader
from brokerbench.brokers.redis_streams.settings import NAMES, declared
from brokerbench.brokers.types import (
    ChannelSpec,
    ConsumerSettings,
    Durability,
    Endpoint,
    FromBeginning,
    FromPosition,
    FromTime,
    Position,
    ProducerSettings,
    ReplayStart,
)

OLDEST_VERSION = 7
"""Major version; Valkey answers the Redis version that it is compatible with."""
_NS_PER_MS = 1_000_000
_COUNT_PAGE = 10_000


class RedisStreams:
    """One control client; every producer, consumer and reader has a connection of its own."""

    def __init__(self, settings: Mapping[str, Any]) -> None:
        self._settings = settings
        self._redis: Redis = Redis(**settings)
        self._opened = Opened(self._redis.close)
        self._told: Mapping[str, str] | None = None

    @classmethod
    def connect(cls, endpoint: Endpoint) -> Self:
        """See ``connection_settings`` for addresses, options and secrets."""
        broker = cls(connection_settings(endpoint))
        with translated("connecting to Redis"):
            version = str(broker._info()["redis_version"])
        if int(version.partition(".")[0]) < OLDEST_VERSION:
            broker.close()
            raise Unsupported(
                "redis-streams", f"Redis {OLDEST_VERSION} or later is needed (XINFO GROUPS lag), not {version}"
            )
        return broker

    def declaration(self) -> ProfileDeclaration:
        return declared(DECLARATION, self.settings())

    def settings(self) -> Mapping[str, str]:
        """By CONFIG GET, which a managed service or an access list may forbid. Read once."""
        if self._told is None:
            self._told = {name: self._setting(name) for name in NAMES}
        return self._told

    def _setting(self, name: str) -> str:
        try:
            with translated("CONFIG GET"):
                found = self._redis.config_get(name)
        except Refused:
            return NOT_TOLD
        return str(found.get(name, NOT_TOLD))

    def server_version(self) -> str:
        with translated("INFO"):
            info = self._info()
        if "valkey_version" in info:
            return f"Valkey {info['valkey_version']}"
        return f"Redis {info['redis_version']}"

    def create_channel(self, spec: ChannelSpec) -> None:
        _require_supported(spec)
        if spec.dead_letter is not None:
            self._spec(spec.dead_letter.channel)
        with translated("creating a channel"):
            if not self._redis.set(codec.spec_key(spec.name), codec.spec_to_json(spec), nx=True):
                raise Refused(f"channel {spec.name!r} exists")
            for stream in codec.stream_names(spec):
                # Creating a group makes an empty stream, which stays when the group is gone.
                self._redis.xgroup_create(stream, "created", mkstream=True)
                self._redis.xgroup_destroy(stream, "created")

    def delete_channel(self, name: str) -> None:
        try:
            spec = self._spec(name)
        except ChannelMissing:
            return
        with translated("deleting a channel"):
            self._redis.unlink(*codec.stream_names(spec), codec.spec_key(name))

    def list_channels(self, prefix: str) -> list[str]:
        pattern = "".join(f"\\{char}" if char in "*?[]\\" else char for char in prefix)
        ending = codec.spec_key("")
        with translated("listing channels"):
            keys = self._redis.scan_iter(match=f"{pattern}*{ending}", count=1000, _type="string")
            return sorted({key.decode().removesuffix(ending) for key in keys})

    def producer(self, channel: str, settings: ProducerSettings) -> RedisProducer:
        spec = self._spec(channel)
        fsync = Durability.STRICT in (spec.durability, settings.durability)
        # A write may block as long as an answer: a stopped server reads nothing.
        connect = partial(RedisConnection, {**self._settings, "socket_timeout": settings.timeout_s})
        return self._opened.add(RedisProducer(connect, codec.stream_names(spec), settings, fsync=fsync))

    def consumer(self, channel: str, settings: ConsumerSettings) -> RedisConsumer:
        spec = self._spec(channel)
        dead = codec.stream_names(self._spec(spec.dead_letter.channel)) if spec.dead_letter else []
        with translated("creating a group"):
            for stream in codec.stream_names(spec):
                try:
                    self._redis.xgroup_create(stream, settings.group, id="0", mkstream=True)
                except exceptions.ResponseError as error:
                    if not str(error).startswith("BUSYGROUP"):
                        raise
        return self._opened.add(RedisConsumer(self._connect, spec, codec.stream_names(spec), dead, settings))

    def reader(self, channel: str, start: ReplayStart) -> RedisReader:
        streams = codec.stream_names(self._spec(channel))
        match start:
            case FromBeginning():
                after = dict.fromkeys(range(len(streams)), b"0-0")
            case FromTime(epoch_ns):
                # Rounded up: an id of the millisecond before the time asked for is too early.
                first = b"%d-0" % -(-epoch_ns // _NS_PER_MS)
                after = dict.fromkeys(range(len(streams)), codec.id_before(codec.place_of(first)))
            case FromPosition(position):
                if not position.places.keys() <= set(range(len(streams))):
                    raise Misuse(f"the channel has {len(streams)} partitions, the position names others")
                after = {partition: codec.id_before(place) for partition, place in position.places.items()}
        return self._opened.add(RedisReader(self._connect, streams, after))

    def bounds(self, channel: str) -> tuple[Position, Position]:
        """Places are ids: they do not count entries."""
        begins, ends = {}, {}
        with translated("XINFO STREAM"):
            for partition, stream in enumerate(codec.stream_names(self._spec(channel))):
                info: Mapping[str, Any] = self._redis.xinfo_stream(stream)
                end = codec.place_of(info["last-generated-id"]) + 1
                first = info["first-entry"]
                begins[partition] = end if first is None else codec.place_of(first[0])
                ends[partition] = end
        return Position(begins), Position(ends)

    def enforce_retention(self, channel: str) -> int:
        """XTRIM each stream, exactly, with an even share of ``max_messages``."""
        spec = self._spec(channel)
        limit = spec.retention
        if limit is None:
            return 0
        removed = 0
        with translated("XTRIM"):
            for stream in codec.stream_names(spec):
                if limit.max_age_s is not None:
                    seconds, micros = self._redis.time()
                    oldest_ms = seconds * 1000 + micros // 1000 - round(limit.max_age_s * 1000)
                    removed += self._redis.xtrim(stream, minid=f"{oldest_ms}-0", approximate=False)
                if limit.max_messages is not None:
                    share = -(-limit.max_messages // spec.partitions)
                    removed += self._redis.xtrim(stream, maxlen=share, approximate=False)
        return removed

    def backlog(self, channel: str, group: str) -> int:
        """Lag and pending entries together. Counts entries where Redis does not know the lag (after deletions)."""
        total = 0
        with translated("XINFO GROUPS"):
            for stream in codec.stream_names(self._spec(channel)):
                groups = [entry for entry in self._redis.xinfo_groups(stream) if entry["name"] == group.encode()]
                if not groups:
                    total += self._redis.xlen(stream)
                    continue
                lag = groups[0]["lag"]
                total += groups[0]["pending"] + (
                    self._count_after(stream, groups[0]["last-delivered-id"]) if lag is None else lag
                )
        return total

    def close(self) -> None:
        self._opened.close()

    def _count_after(self, stream: bytes, last: bytes) -> int:
        count = 0
        while True:
            page: Any = self._redis.xrange(stream, min=b"(" + last, count=_COUNT_PAGE)
            if not page:
                return count
            count += len(page)
            last = page[-1][0]

    def _info(self) -> Mapping[str, Any]:
        info: Mapping[str, Any] = self._redis.info("server")
        return info

    def _connect(self) -> RedisConnection:
        return RedisConnection(self._settings)

    def _spec(self, channel: str) -> ChannelSpec:
        with translated("reading a channel"):
            text = self._redis.get(codec.spec_key(channel))
        if text is None:
            raise ChannelMissing(channel)
        return codec.spec_from_json(text)


def _require_supported(spec: ChannelSpec) -> None:
    least_s = DECLARATION.limits.lease_min_s
    assert least_s is not None
    if spec.partitions < 1 or spec.lease_s < least_s:
        raise Misuse(f"a channel needs at least one partition and a lease of at least {least_s:g} s")
    limit = spec.retention
    if limit is None:
        return
    if limit.max_bytes is not None:
        raise Unsupported("retention by bytes", "Redis trims a stream by length (MAXLEN) or id (MINID) only")
    if limit.segment_bytes is not None or limit.segment_ms is not None:
        raise Unsupported("segments", "Redis streams have none: trimming is exact")
