"""The values that cross the interface: columns, not objects.

A batch of n messages is a few parallel columns of length n. Times are integer nanoseconds; every
name says its unit and its clock:

* ``*_ns`` alone is this host's monotonic clock (``time.monotonic_ns``),
* ``*_epoch_ns`` is wall-clock time since 1970; its docstring names the clock.

A *place* is an adapter's own order-preserving ``int64`` encoding of a position within one partition
(a Kafka offset; a Redis stream id as ``ms << 20 | seq``). ``NO_PLACE`` means that the channel has none.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import IntEnum, StrEnum
from functools import cache
from itertools import islice
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

IntColumn = npt.NDArray[np.int64]
SmallIntColumn = npt.NDArray[np.int32]
OutcomeColumn = npt.NDArray[np.int8]
_Number = TypeVar("_Number", bound=np.integer[Any])

NO_PLACE = -1
"""Place of a message in a channel without positions (SQS)."""
NO_PARTITION = -1
NO_TIME = -1
"""In ``broker_epoch_ns``: the broker keeps no time of its own for this message, or it was not asked for."""
UNKNOWN_COUNT = 0
"""In ``delivery_counts``: the broker does not count deliveries. Real counts start at 1."""
MAX_ERRORS = 100
"""Most reasons kept in one ``Settlements``, in messages."""


def constant(value: int, count: int, dtype: type[_Number]) -> npt.NDArray[_Number]:
    """A column of one value. Takes a quarter of the time of ``np.full`` for a short one."""
    column = np.empty(count, dtype)
    column.fill(value)
    return column


class Outcome(IntEnum):
    """The fate of a send or of a settlement. A time-out is UNKNOWN, never a failure."""

    UNKNOWN = 0
    ACKNOWLEDGED = 1
    REJECTED = 2


class Resolution(StrEnum):
    """How finely a profile learns *when* a send was settled."""

    MESSAGE = "message"
    REQUEST = "request"
    FLUSH = "flush"


class AckGranularity(StrEnum):
    """Messages that one acknowledgement covers."""

    MESSAGE = "message"
    UP_TO_POSITION = "up to a position"


class Clock(StrEnum):
    """The clock of time-based replays and of broker times."""

    CLIENT_CREATE = "client create time"
    BROKER_APPEND = "broker append time"
    BROKER_ID = "broker id time"


@dataclass(frozen=True, slots=True)
class Batch:
    """Messages to send. All columns have the same length n (checked by adapters with ``check``).

    ``payloads``: a list, or ``brokerbench.brokers.rows.Rows``, which an adapter that works by columns need not make
    objects of.
    ``keys``: ordering keys (Kafka key, SQS FIFO message group, Redis stream selector); ``None`` = unkeyed.
    ``dedup_ids``: identity for broker-side deduplication, where the profile has it; ``None`` lets the
    adapter choose its declared default. ``attributes``: per-message string attributes; setting it may
    select a slower path (Kafka's ``produce_batch`` cannot carry headers).
    """

    payloads: Sequence[bytes]
    keys: Sequence[bytes] | None = None
    dedup_ids: Sequence[str] | None = None
    attributes: Sequence[Mapping[str, str]] | None = None

    def __len__(self) -> int:
        return len(self.payloads)


@dataclass(frozen=True, slots=True)
class SendReceipt:
    """The messages that ``send`` took. ``ticket`` numbers messages of this producer from 0 in order of sending.

    Messages ``first_ticket .. first_ticket + count - 1`` correspond to batch indices 0..count-1.
    ``rejected`` lists indices refused at once (too large, queue full): they are settled as REJECTED
    and appear in a later ``Settlements`` too, so that settlements alone account for every ticket.
    """

    first_ticket: int
    count: int
    rejected: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Settlements:
    """Fates of sends, as parallel columns; each ticket appears once over a producer's life.

    ``partitions``/``places`` are NO_PARTITION/NO_PLACE where the broker does not tell the sender.
    """

    tickets: IntColumn
    outcomes: OutcomeColumn
    settled_ns: IntColumn
    partitions: SmallIntColumn
    places: IntColumn
    errors: Mapping[int, str] = field(default_factory=dict)
    """ticket -> reason, for rejected and unknown ones (the first ``MAX_ERRORS`` of a call)."""

    def __len__(self) -> int:
        return len(self.tickets)

    @staticmethod
    @cache
    def empty() -> Settlements:
        none = np.empty(0, np.int64)
        return Settlements(none, np.empty(0, np.int8), none, np.empty(0, np.int32), none)

    @staticmethod
    def uniform(
        first_ticket: int, count: int, outcome: Outcome, settled_ns: int, error: str | None = None
    ) -> Settlements:
        """Settlements for ``count`` consecutive tickets that share one fate and one moment."""
        tickets = np.arange(first_ticket, first_ticket + count, dtype=np.int64)
        return Settlements(
            tickets,
            constant(outcome, count, np.int8),
            constant(settled_ns, count, np.int64),
            constant(NO_PARTITION, count, np.int32),
            constant(NO_PLACE, count, np.int64),
            {} if error is None or not count else {first_ticket: error},
        )

    @staticmethod
    def concat(parts: Sequence[Settlements]) -> Settlements:
        parts = [part for part in parts if len(part)]
        if not parts:
            return Settlements.empty()
        if len(parts) == 1:
            return parts[0]
        errors = {ticket: why for part in parts for ticket, why in part.errors.items()}
        return Settlements(
            np.concatenate([part.tickets for part in parts]),
            np.concatenate([part.outcomes for part in parts]),
            np.concatenate([part.settled_ns for part in parts]),
            np.concatenate([part.partitions for part in parts]),
            np.concatenate([part.places for part in parts]),
            dict(islice(errors.items(), MAX_ERRORS)),
        )


@dataclass(frozen=True, slots=True)
class Received:
    """Messages delivered by one ``receive``/``read``: parallel columns in order of delivery.

    ``received_ns`` is one monotonic time for the batch: the client hands over the whole batch at once.
    ``broker_epoch_ns`` is the broker's own time per message (Kafka record timestamp, SentTimestamp,
    stream-id time) or NO_TIME; which clock it is, the profile's ``Limits.broker_clock`` says.
    ``handle`` is private to the adapter that made it (receipt handles, entry ids, records).
    """

    payloads: Sequence[bytes]
    keys: Sequence[bytes | None]
    partitions: SmallIntColumn
    places: IntColumn
    received_ns: int
    broker_epoch_ns: IntColumn
    delivery_counts: SmallIntColumn
    ids: Sequence[str] = ()
    """The broker's message ids, where it has them; empty otherwise (then partition+place is the id)."""
    attributes: Sequence[Mapping[str, str]] | None = None
    handle: Any = None

    def __len__(self) -> int:
        return len(self.places)

    def bare(self) -> Received:
        """A copy without payloads, keys and attributes: enough for settling, and cheap to keep."""
        # ``dataclasses.replace`` takes twice as long, for each batch of a load.
        return Received(
            (),
            (),
            self.partitions,
            self.places,
            self.received_ns,
            self.broker_epoch_ns,
            self.delivery_counts,
            self.ids,
            None,
            self.handle,
        )

    @staticmethod
    def empty(received_ns: int) -> Received:
        return Received(
            (),
            (),
            np.empty(0, np.int32),
            np.empty(0, np.int64),
            received_ns,
            np.empty(0, np.int64),
            np.empty(0, np.int32),
        )


Indices = Sequence[int] | IntColumn | None
"""Which messages of a ``Received``; ``None`` means all."""


@dataclass(frozen=True, slots=True)
class Position:
    """A place to read from again: {partition: place of the first message to read}."""

    places: Mapping[int, int]


@dataclass(frozen=True, slots=True)
class FromBeginning:
    """Start of a replay: the earliest message still kept."""


@dataclass(frozen=True, slots=True)
class FromPosition:
    """Start of a replay: these places, inclusive. Partitions not named are not read."""

    position: Position


@dataclass(frozen=True, slots=True)
class FromTime:
    """Start of a replay: messages whose broker time (``Limits.broker_clock``) is >= this epoch time."""

    epoch_ns: int


ReplayStart = FromBeginning | FromPosition | FromTime


@dataclass(frozen=True, slots=True)
class Retention:
    """How long a channel keeps messages. ``None`` = the broker's default; at least one is set.

    ``segment_bytes``/``segment_ms`` set the granularity of removal where the broker has one (Kafka).
    """

    max_age_s: float | None = None
    max_bytes: int | None = None
    max_messages: int | None = None
    segment_bytes: int | None = None
    segment_ms: int | None = None


@dataclass(frozen=True, slots=True)
class DeadLetterPolicy:
    """After ``max_deliveries`` failed deliveries a message goes to the channel ``channel``."""

    channel: str
    max_deliveries: int


class Durability(StrEnum):
    """How much an acknowledged send survives; each adapter maps it to its broker's settings."""

    RELAXED = "relaxed"
    DEFAULT = "default"
    STRICT = "strict"


@dataclass(frozen=True, slots=True)
class ChannelSpec:
    """A channel to create. Adapters raise ``Unsupported`` for settings that the broker cannot honour.

    ``lease_s``: how long a delivery is hidden from other consumers until it is settled.
    ``partitions``: Kafka partitions, Redis streams; SQS has none and ignores the number (declared).
    """

    name: str
    partitions: int = 1
    lease_s: float = 30.0
    retention: Retention | None = None
    dead_letter: DeadLetterPolicy | None = None
    durability: Durability = Durability.DEFAULT


@dataclass(frozen=True, slots=True)
class ProducerSettings:
    """``concurrency``: requests in flight at once; ``timeout_s``: when an unanswered send is UNKNOWN.

    ``linger_ms``/``batch_bytes`` shape client-side batching where the client has it (Kafka).
    ``max_in_flight``: accepted but unsettled messages before ``send`` blocks for room.
    """

    concurrency: int = 8
    timeout_s: float = 30.0
    linger_ms: float = 5.0
    batch_bytes: int = 1_000_000
    max_in_flight: int = 100_000
    durability: Durability = Durability.DEFAULT


@dataclass(frozen=True, slots=True)
class ConsumerSettings:
    """``group``: consumers of one group share a channel's messages. New groups start at the beginning.

    ``concurrency``: requests in flight at once; ``prefetch_bytes`` bounds the client's buffer. Without
    ``details`` the caller needs no ``keys``, ``attributes``, ``broker_epoch_ns`` or ``delivery_counts``: an adapter
    may leave the first two empty, and the others at NO_TIME and UNKNOWN_COUNT.
    """

    group: str = "brokerbench"
    name: str = "consumer-0"
    concurrency: int = 8
    prefetch_bytes: int = 64 << 20
    details: bool = True


@dataclass(frozen=True, slots=True)
class Endpoint:
    """How to reach a running broker: the only thing an engine hands to an adapter.

    ``address`` is ``host:port`` (Kafka: a comma-separated list) or a URL (SQS, Redis).
    ``options`` are plain settings fit for a log (``region``, ``tls``); ``secrets`` (user, password,
    keys) stay out of ``repr`` and out of every result.
    """

    broker: str
    address: str
    options: Mapping[str, str] = field(default_factory=dict)
    secrets: Mapping[str, str] = field(default_factory=dict, repr=False)
