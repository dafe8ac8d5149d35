"""Amazon SQS under two profiles: a channel is a standard queue, or a FIFO queue called ``<channel>.fifo``.

All consumers of a queue share its messages: names of groups mean nothing, nor do partitions.
boto3 creates and describes queues; messages travel through aiobotocore, whose event loop runs inside.
"""

from __future__ import annotations

import json
import math
import re
import urllib.error
import urllib.request
from contextlib import suppress
from typing import TYPE_CHECKING, ClassVar, Self

from brokerbench.brokers.contract import Opened
from brokerbench.brokers.declarations import ProfileDeclaration
from brokerbench.brokers.errors import ChannelMissing, Misuse, Refused, Unsupported
from brokerbench.brokers.sqs.codec import MAX_REQUEST_BYTES
from brokerbench.brokers.sqs.connection import ANSWER_S, Clients, Settings, control_client, settings_of, translated
from brokerbench.brokers.sqs.consumer import SqsConsumer, lease_seconds
from brokerbench.brokers.sqs.declarations import FIFO, RETENTION_MAX_S, RETENTION_MIN_S, STANDARD
from brokerbench.brokers.sqs.producer import SqsProducer
from brokerbench.brokers.types import (
    ChannelSpec,
    ConsumerSettings,
    DeadLetterPolicy,
    Endpoint,
    ProducerSettings,
    Retention,
)

if TYPE_CHECKING:
    from types_boto3_sqs.literals import QueueAttributeNameType

_NAME = re.compile(r"[A-Za-z0-9_-]{1,80}")
_FIFO_SUFFIX = ".fifo"
_LISTED_AT_ONCE = 1000
_MAX_DELIVERIES = 1000
_BACKLOG: tuple[QueueAttributeNameType, ...] = (
    "ApproximateNumberOfMessages",
    "ApproximateNumberOfMessagesNotVisible",
    "ApproximateNumberOfMessagesDelayed",
)


class _Queues:
    """Queues of one kind; those of the other kind are neither seen nor touched."""

    _declaration: ClassVar[ProfileDeclaration]
    _fifo: ClassVar[bool]

    def __init__(self, settings: Settings) -> None:
        """Raises Unreachable when nothing answers, Refused for bad credentials."""
        self._settings = settings
        with translated("connecting to SQS"):
            self._control = control_client(settings)
            self._control.list_queues(MaxResults=1)
        self._clients = Clients(settings)
        self._opened = Opened(self._clients.loop.close, self._control.close)

    @classmethod
    def connect(cls, endpoint: Endpoint) -> Self:
        """See ``settings_of`` for addresses, options and secrets."""
        return cls(settings_of(endpoint))

    def declaration(self) -> ProfileDeclaration:
        return self._declaration

    def server_version(self) -> str:
        """The version of an emulator; the service tells only that of its interface."""
        interface = f"interface {self._control.meta.service_model.api_version}"
        if self._settings.aws:
            return f"Amazon SQS, {interface}"
        try:
            with urllib.request.urlopen(f"{self._settings.url}/_localstack/health", timeout=ANSWER_S) as answer:
                return f"LocalStack {json.load(answer)['version']}"
        except (OSError, ValueError, KeyError, TypeError):
            return f"unknown, answers as SQS, {interface}"

    def create_channel(self, spec: ChannelSpec) -> None:
        """Leases and retention are rounded up to whole seconds; every durability is that of SQS.

        The channel of dead letters is a queue of the same kind.
        """
        queue = self._queue(spec.name)
        attributes: dict[QueueAttributeNameType, str] = {
            "VisibilityTimeout": str(lease_seconds(spec.lease_s)),
            "MaximumMessageSize": str(MAX_REQUEST_BYTES),
        }
        if spec.retention is not None:
            attributes["MessageRetentionPeriod"] = str(_retention_seconds(spec.retention))
        if spec.dead_letter is not None:
            attributes["RedrivePolicy"] = self._redrive_policy(spec.dead_letter)
        if self._fifo:
            attributes["FifoQueue"] = "true"
        # CreateQueue alone succeeds for a queue that exists with the same attributes.
        if self._find(spec.name) is not None:
            raise Refused(f"channel {spec.name!r} exists")
        with translated(f"creating channel {spec.name!r}"):
            self._control.create_queue(QueueName=queue, Attributes=attributes)

    def delete_channel(self, name: str) -> None:
        """On AWS a queue of that name can be created again after 60 s."""
        url = self._find(name)
        if url is not None:
            with suppress(ChannelMissing), translated(f"deleting channel {name!r}"):
                self._control.delete_queue(QueueUrl=url)

    def list_channels(self, prefix: str) -> list[str]:
        found: list[str] = []
        with translated("listing channels"):
            pages = self._control.get_paginator("list_queues").paginate(
                QueueNamePrefix=prefix, PaginationConfig={"PageSize": _LISTED_AT_ONCE}
            )
            for page in pages:
                found += [url.rpartition("/")[2] for url in page.get("QueueUrls", ())]
        ours = [queue for queue in found if queue.endswith(_FIFO_SUFFIX) is self._fifo and queue.startswith(prefix)]
        return sorted(queue.removesuffix(_FIFO_SUFFIX) for queue in ours)

    def producer(self, channel: str, settings: ProducerSettings) -> SqsProducer:
        return self._opened.add(SqsProducer(self._clients, self._url(channel), self._fifo, settings))

    def consumer(self, channel: str, settings: ConsumerSettings) -> SqsConsumer:
        return self._opened.add(SqsConsumer(self._clients, self._url(channel), settings))

    def backlog(self, channel: str, group: str) -> int:
        """Visible, in flight and delayed messages; ``group`` means nothing."""
        url = self._url(channel)
        with translated(f"counting channel {channel!r}"):
            attributes = self._control.get_queue_attributes(QueueUrl=url, AttributeNames=_BACKLOG)["Attributes"]
        return sum(int(attributes.get(name, 0)) for name in _BACKLOG)

    def close(self) -> None:
        self._opened.close()

    def _queue(self, channel: str) -> str:
        """The queue's name. Raises Misuse for a name that SQS does not take."""
        queue = f"{channel}{_FIFO_SUFFIX}" if self._fifo else channel
        if not _NAME.fullmatch(channel) or len(queue) > 80:
            raise Misuse(f"channel {channel!r}: SQS takes letters, digits, '-' and '_', 80 in all with {_FIFO_SUFFIX}")
        return queue

    def _find(self, channel: str) -> str | None:
        queue = self._queue(channel)
        try:
            with translated(f"channel {channel!r}"):
                return self._control.get_queue_url(QueueName=queue)["QueueUrl"]
        except ChannelMissing:
            return None

    def _url(self, channel: str) -> str:
        url = self._find(channel)
        if url is None:
            raise ChannelMissing(channel)
        return url

    def _redrive_policy(self, policy: DeadLetterPolicy) -> str:
        if not 1 <= policy.max_deliveries <= _MAX_DELIVERIES:
            raise Misuse(f"max_deliveries is 1 to {_MAX_DELIVERIES}, not {policy.max_deliveries}")
        url = self._url(policy.channel)
        with translated(f"channel {policy.channel!r}"):
            found = self._control.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]
        return json.dumps({"deadLetterTargetArn": found["QueueArn"], "maxReceiveCount": policy.max_deliveries})


class SqsStandard(_Queues):
    """Standard queues."""

    _declaration, _fifo = STANDARD, False


class SqsFifo(_Queues):
    """FIFO queues: keys are message groups."""

    _declaration, _fifo = FIFO, True


def _retention_seconds(retention: Retention) -> int:
    """Whole seconds, rounded up; SQS limits age only, and has no segments."""
    if retention.max_bytes is not None or retention.max_messages is not None:
        raise Unsupported("retention by size", "SQS limits the age of messages only")
    if retention.segment_bytes is not None or retention.segment_ms is not None:
        raise Unsupported("segments", "SQS has none")
    if retention.max_age_s is None:
        raise Misuse("a retention without any limit")
    if not RETENTION_MIN_S <= retention.max_age_s <= RETENTION_MAX_S:
        raise Misuse(
            f"a retention of {retention.max_age_s:g} s: SQS takes {RETENTION_MIN_S:,} to {RETENTION_MAX_S:,} s"
        )
    return math.ceil(retention.max_age_s)
