"""Topics, groups and offsets: every request to Kafka that moves no messages.

A group of this package is called ``<channel>:<group>`` on the broker: here a group belongs to a channel,
in Kafka to the whole cluster. No topic name contains a colon, so that names cannot clash.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future
from contextlib import suppress
from typing import Any, Self

from confluent_kafka import ConsumerGroupTopicPartitions, KafkaError, KafkaException, TopicPartition
from confluent_kafka.admin import (  # type: ignore[attr-defined]  # the package re-exports without __all__
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    ConfigSource,
    NewTopic,
    OffsetSpec,
    ResourceType,
    TopicMetadata,
)

from brokerbench.brokers.contract import Opened
from brokerbench.brokers.errors import ChannelMissing, Misuse, Refused, Unreachable, Unsupported
from brokerbench.brokers.kafka.client import LOGGER, REQUEST_TIMEOUT_S, client_config, kafka_error, translated
from brokerbench.brokers.kafka.declarations import MAX_REQUEST_BYTES
from brokerbench.brokers.kafka.producer import KafkaProducer
from brokerbench.brokers.kafka.reader import KafkaReader
from brokerbench.brokers.kafka.settings import NOT_SET, told
from brokerbench.brokers.kafka.version import kafka_version
from brokerbench.brokers.types import (
    ChannelSpec,
    Durability,
    Endpoint,
    FromBeginning,
    FromPosition,
    FromTime,
    Position,
    ProducerSettings,
    ReplayStart,
    Retention,
)

_EARLIEST = OffsetSpec.earliest()  # type: ignore[no-untyped-call]
_LATEST = OffsetSpec.latest()  # type: ignore[no-untyped-call]
# As numbers: an entry's source is annotated as ConfigSource, and really an int.
_OWN: tuple[object, ...] = (ConfigSource.DYNAMIC_TOPIC_CONFIG.value, ConfigSource.GROUP_CONFIG.value)
_WAIT_S = 30.0
_POLL_S = 0.02


def group_id(channel: str, group: str) -> str:
    return f"{channel}:{group}"


class KafkaAdmin:
    """One AdminClient, kept for the life of the broker object: its futures die with it."""

    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint
        self._client = AdminClient(client_config(endpoint, logger=LOGGER))

    def probe(self) -> None:
        """Raises Unreachable unless a broker answers."""
        self._described(f"connect to {self._endpoint.address}")

    def create_topic(self, spec: ChannelSpec) -> None:
        if spec.partitions < 1:
            raise Misuse(f"a channel of {spec.partitions} partitions")
        replicas = int(self._endpoint.options.get("replication_factor", "1"))
        config = _topic_config(spec, replicas)
        topic = NewTopic(spec.name, spec.partitions, replicas, config=config)
        _answer(self._client.create_topics([topic], request_timeout=_WAIT_S)[spec.name], f"create {spec.name}")
        _wait_until(lambda: self._has_leaders(spec.name, spec.partitions), f"create {spec.name}")
        self._require_in_force(spec.name, config)

    def _require_in_force(self, channel: str, wanted: Mapping[str, str]) -> None:
        """Raises Unsupported, and deletes the topic, where the broker keeps other settings than were asked for."""
        try:
            kept = self.configuration(ResourceType.TOPIC, channel)
        except Refused:
            return
        for name, value in wanted.items():
            if kept.get(name, value) != value:
                self.delete_topic(channel)
                raise Unsupported(name, f"the broker was asked for {value} and keeps {kept[name]}")

    def max_request_bytes(self, channel: str) -> int:
        """The largest record batch that the topic and the client take."""
        try:
            largest = int(self.configuration(ResourceType.TOPIC, channel)["max.message.bytes"])
        except (KeyError, Refused):
            return MAX_REQUEST_BYTES
        return min(largest, MAX_REQUEST_BYTES)

    def _has_leaders(self, channel: str, partitions: int) -> bool:
        topic = self._client.list_topics(channel, timeout=REQUEST_TIMEOUT_S).topics.get(channel)
        if topic is None or topic.error is not None or len(topic.partitions) < partitions:
            return False
        if any(partition.leader < 0 for partition in topic.partitions.values()):
            return False
        try:
            self.bounds(channel)
        except (ChannelMissing, Refused, Unreachable):  # metadata is ahead of the leader
            return False
        return True

    def delete_topic(self, channel: str) -> None:
        """The topic and the groups that were made for it; neither need exist."""
        with suppress(ChannelMissing):
            _answer(self._client.delete_topics([channel], request_timeout=_WAIT_S)[channel], f"delete {channel}")
        _wait_until(lambda: channel not in self.topics(), f"delete {channel}")
        self._delete_groups(group_id(channel, ""))

    def _delete_groups(self, prefix: str) -> None:
        # A group may still have a member, or its coordinator may be busy. The topic is gone, so the broker forgets
        # empty groups by itself (offsets.retention.minutes), and no measurement depends on them.
        with suppress(Refused, Unreachable):
            groups = [prefix, *self._groups(prefix)]
            for name in groups:
                settings = self.configuration(ResourceType.GROUP, name, only_own=True)
                if settings:
                    self.configure(ResourceType.GROUP, name, dict.fromkeys(settings))
            for name, future in self._client.delete_consumer_groups(groups, request_timeout=_WAIT_S).items():
                with suppress(Refused):
                    _answer(future, f"delete group {name}")

    def _groups(self, prefix: str) -> list[str]:
        """Also share groups, which the successor of this deprecated call leaves out (client 2.16)."""
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", DeprecationWarning)
                listed = self._client.list_groups(timeout=REQUEST_TIMEOUT_S)
        except KafkaException as failure:
            raise translated(failure, "list groups") from None
        return [name for name in map(str, listed) if name.startswith(prefix)]

    def topics(self) -> list[str]:
        return sorted(self._described("list channels"))

    def _described(self, what: str, channel: str | None = None) -> Mapping[str, TopicMetadata]:
        try:
            return self._client.list_topics(channel, timeout=REQUEST_TIMEOUT_S).topics
        except KafkaException as failure:
            raise translated(failure, what) from None

    def partitions(self, channel: str) -> list[int]:
        topic = self._described(f"look at {channel}", channel).get(channel)
        if topic is None or topic.error is not None:
            raise ChannelMissing(f"{channel} does not exist")
        return sorted(topic.partitions)

    def bounds(self, channel: str) -> tuple[Position, Position]:
        partitions = [TopicPartition(channel, number) for number in self.partitions(channel)]
        return self._offsets(partitions, _EARLIEST), self._offsets(partitions, _LATEST)

    def offsets_at(self, channel: str, start: ReplayStart) -> Mapping[int, int]:
        """{partition: the offset to begin at}. Raises ChannelMissing for a partition that does not exist."""
        low, high = self.bounds(channel)
        match start:
            case FromBeginning():
                return low.places
            case FromPosition(position):
                unknown = set(position.places) - set(low.places)
                if unknown:
                    raise ChannelMissing(f"{channel} has no partition {min(unknown)}")
                return position.places
            case FromTime(epoch_ns):
                time_ms = OffsetSpec.for_timestamp(-(-epoch_ns // 1_000_000))
                found = self._offsets([TopicPartition(channel, number) for number in low.places], time_ms)
                # No message is that young: begin at the end as it was before the request, so that none is missed.
                return {number: place if place >= 0 else high.places[number] for number, place in found.places.items()}

    def _offsets(self, partitions: Iterable[TopicPartition], which: OffsetSpec) -> Position:
        futures = self._client.list_offsets(dict.fromkeys(partitions, which), request_timeout=REQUEST_TIMEOUT_S)
        answers = {place.partition: _answer(future, "list offsets") for place, future in futures.items()}
        return Position({partition: answer.offset for partition, answer in sorted(answers.items())})

    def committed(self, channel: str, group: str) -> dict[int, int]:
        """{partition: committed offset}; partitions without one are left out."""
        partitions = [TopicPartition(channel, number) for number in self.partitions(channel)]
        request = ConsumerGroupTopicPartitions(group_id(channel, group), partitions)
        future = self._client.list_consumer_group_offsets([request])[request.group_id]
        answer = _answer(future, f"look up the offsets of group {group}")
        return {entry.partition: entry.offset for entry in answer.topic_partitions if entry.offset >= 0}

    def configure(self, kind: ResourceType, name: str, settings: Mapping[str, str | None]) -> None:
        """Change these settings and wait until they show; ``None`` resets one to its default."""
        entries = [
            ConfigEntry(
                key,
                value or "",
                incremental_operation=AlterConfigOpType.DELETE if value is None else AlterConfigOpType.SET,
            )
            for key, value in settings.items()
        ]
        resource = ConfigResource(kind, name, incremental_configs=entries)
        _answer(_only(self._client.incremental_alter_configs([resource], request_timeout=_WAIT_S)), f"configure {name}")
        # The answer comes from the controller, some milliseconds before the brokers act on it.
        wanted = {key: value for key, value in settings.items() if value is not None}.items()
        _wait_until(lambda: wanted <= self.configuration(kind, name).items(), f"configure {name}")

    def settings(self) -> dict[str, str]:
        """The cluster's settings on which the declarations depend; see ``settings.told``."""
        try:
            brokers = self._client.list_topics(timeout=REQUEST_TIMEOUT_S).brokers
            found = [self._entries(ResourceType.BROKER, str(number)) for number in brokers]
            return told([{name: entry.value or NOT_SET for name, entry in entries.items()} for entries in found])
        except (KafkaException, Refused, Unreachable) as failure:
            LOGGER.warning("the broker does not tell its settings: %s", failure)
            return told([{}])

    def configuration(self, kind: ResourceType, name: str, only_own: bool = False) -> dict[str, str]:
        """Settings in force; ``only_own``: without inherited and default ones."""
        return {
            key: entry.value
            for key, entry in self._entries(kind, name).items()
            if entry.value is not None and (not only_own or entry.source in _OWN)
        }

    def _entries(self, kind: ResourceType, name: str) -> dict[str, ConfigEntry]:
        futures = self._client.describe_configs([ConfigResource(kind, name)], request_timeout=REQUEST_TIMEOUT_S)
        entries: dict[str, ConfigEntry] = _answer(_only(futures), f"look up the settings of {name}")
        return entries


def _topic_config(spec: ChannelSpec, replicas: int) -> dict[str, str]:
    # The broker's own clock: with Kafka's default, CreateTime, a producer's clock decides where a
    # replay from a time begins and when retention removes a message.
    # Where a broker compacts by default, the last message of each key would be all that is kept.
    config = {"message.timestamp.type": "LogAppendTime", "cleanup.policy": "delete"}
    if spec.durability is Durability.STRICT:
        # Synced to disk before the acknowledgement; Kafka's default leaves that to the replicas.
        config |= {"flush.messages": "1", "min.insync.replicas": str(min(2, replicas))}
    if spec.retention is not None:
        config |= _retention_config(spec.retention, spec.partitions)
    return config


def _retention_config(retention: Retention, partitions: int) -> dict[str, str]:
    if retention.max_messages is not None:
        raise Unsupported("retention by count", "Kafka retains by age and by size only")
    limits = {
        "retention.ms": None if retention.max_age_s is None else int(retention.max_age_s * 1000),
        # Kafka's limit holds for each partition by itself.
        "retention.bytes": None if retention.max_bytes is None else -(-retention.max_bytes // partitions),
        "segment.bytes": retention.segment_bytes,
        "segment.ms": retention.segment_ms,
    }
    return {name: str(limit) for name, limit in limits.items() if limit is not None}


def _only(futures: Mapping[Any, Future[Any]]) -> Future[Any]:
    """Never ``popitem``: the client looks the future up in this very mapping when the answer comes."""
    return next(iter(futures.values()))


def _answer(future: Future[Any], what: str) -> Any:
    try:
        return future.result(timeout=_WAIT_S)
    except KafkaException as failure:
        error = kafka_error(failure)
        if error is not None and error.code() == KafkaError.TOPIC_EXCEPTION:
            raise Misuse(f"{what}: {error.str()}") from None
        raise translated(failure, what) from None
    except TimeoutError:
        raise Unreachable(f"{what}: no answer within {_WAIT_S:g} s") from None


def _wait_until(done: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + _WAIT_S
    while not done():
        if time.monotonic() > deadline:
            raise Unreachable(f"{what}: not settled within {_WAIT_S:g} s")
        time.sleep(_POLL_S)


class KafkaConnection:
    """What both profiles share: all but their groups. A reader is outside of these."""

    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint
        self._admin = KafkaAdmin(endpoint)
        self._opened = Opened()
        self._settings: Mapping[str, str] | None = None
        self._admin.probe()

    @classmethod
    def connect(cls, endpoint: Endpoint) -> Self:
        return cls(endpoint)

    def settings(self) -> Mapping[str, str]:
        """Read once: they do not change while a run lasts."""
        if self._settings is None:
            self._settings = self._admin.settings()
        return self._settings

    def server_version(self) -> str:
        return kafka_version(self._endpoint)

    def delete_channel(self, name: str) -> None:
        self._admin.delete_topic(name)

    def list_channels(self, prefix: str) -> list[str]:
        return [name for name in self._admin.topics() if name.startswith(prefix)]

    def producer(self, channel: str, settings: ProducerSettings) -> KafkaProducer:
        self._admin.partitions(channel)  # raises ChannelMissing now, not as time-outs later
        largest = self._admin.max_request_bytes(channel)
        return self._opened.add(KafkaProducer(self._endpoint, channel, settings, largest))

    def reader(self, channel: str, start: ReplayStart) -> KafkaReader:
        return self._opened.add(KafkaReader(self._endpoint, channel, self._admin.offsets_at(channel, start)))

    def bounds(self, channel: str) -> tuple[Position, Position]:
        return self._admin.bounds(channel)

    def close(self) -> None:
        self._opened.close()
