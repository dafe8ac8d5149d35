"""The promises of a profile: one declaration for each property of semantics, with its source.

A property is a statement that can be true or false of a broker, or a quantity. Adapters and experiments share one
vocabulary, ``PROPERTIES``. Declarations are expectations; facts (findings of a checker) live elsewhere.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from brokerbench.brokers.types import AckGranularity, Clock, Durability, Resolution


class Kind(StrEnum):
    """How a property is tested.

    ALWAYS: a universal statement ("order per key holds"); the telling sighting is a violation.
    CAN: a capability ("can be read again from the beginning"); the telling sighting is a success.
    QUANTITY: a number with a unit; declared as a bound.
    """

    ALWAYS = "always"
    CAN = "can"
    QUANTITY = "quantity"


class Support(StrEnum):
    """Modality of a declaration.

    For ALWAYS properties POSSIBLE means "may or may not hold": a violation is possible.
    For CAN properties POSSIBLE means "may work".
    """

    GUARANTEED = "guaranteed"
    POSSIBLE = "possible"
    IMPOSSIBLE = "impossible"
    UNDECLARED = "undeclared"


class Provider(StrEnum):
    """The provider of a declared property."""

    BROKER = "broker"
    ADAPTER = "adapter"
    NOBODY = "nobody"


@dataclass(frozen=True, slots=True)
class Property:
    """One entry of the vocabulary. ``statement`` reads as a sentence in a report."""

    name: str
    kind: Kind
    statement: str
    unit: str = ""


@dataclass(frozen=True, slots=True)
class Declaration:
    """A profile's statement on one property.

    ``low``/``high`` bound a QUANTITY, in the property's unit (``None`` = unbounded on that side).
    ``source`` is a citation (page, command, KIP) or "derived: ..." with the reasoning.
    ``client_lacks``: the broker has it, its client library does not; then the experiment reports
    "not testable here" with this reason instead of judging the broker.
    """

    support: Support
    provided_by: Provider
    source: str
    note: str = ""
    low: float | None = None
    high: float | None = None
    client_lacks: str = ""


@dataclass(frozen=True, slots=True)
class Limits:
    """Numbers and forms of a profile. Sizes in bytes, times in seconds; ``None`` = no limit found."""

    max_message_bytes: int | None
    max_request_messages: int | None
    max_request_bytes: int | None
    ack_granularity: AckGranularity
    settle_resolution: Resolution
    broker_clock: Clock | None
    broker_clock_resolution_ns: int
    has_positions: bool
    has_partitions: bool
    lease_min_s: float | None
    """None: deliveries have no lease; they are hidden as long as their consumer is there."""
    lease_max_s: float | None
    lease_is_per_channel: bool
    retention_min_age_s: float | None
    retention_max_age_s: float | None
    max_unsettled_batches: int | None
    """How many received batches may be unsettled before ``receive`` refuses; None = any."""
    max_receive_messages: int | None
    """Most messages that one ``receive`` can return, even if more are asked for."""
    payload_encoding: str
    """``"bytes"``, or the encoding of bytes and its cost, e.g. ``"base64: +33 %"``."""
    drain_proof: str
    """The proof that nothing is left for a group, in words fit for a report."""
    buffers_ahead: bool
    """The client fetches messages before they are asked for (their lease, if any, runs)."""
    has_groups: bool = True
    """Each group gets every message; False: all consumers share the messages, and group names mean nothing."""
    has_dead_letters: bool | None = None
    """Whether a channel can have a ``DeadLetterPolicy``; False: asking for one raises Unsupported. None: undeclared."""
    dead_letter_prefix: str = ""
    """The prefix that every channel for dead letters must have in its name."""
    retention_lag_s: float | None = 0.0
    """Longest time from a retention limit until what is beyond it is removed, as the broker's settings have it; 0: they
    delay nothing; None: they are not known."""
    has_deduplication: bool | None = None
    """Of two messages with one ``dedup_id`` only one is kept; False: such ids raise Unsupported. None: undeclared."""


@dataclass(frozen=True, slots=True)
class ProfileDeclaration:
    """Everything that a profile says of itself. Undeclared properties are legal and shown as such."""

    profile: str
    product: str
    summary: str
    limits: Limits
    properties: Mapping[str, Declaration]
    durability: Mapping[Durability, str] = field(default_factory=dict)
    """The meaning of each class, in the broker's own words: for all of them, or empty (undeclared)."""

    def of(self, property_name: str) -> Declaration:
        return self.properties.get(property_name, UNDECLARED)


NOT_TOLD = "not told"
"""The value of a setting that a broker did not tell, or told differently in its parts: it bounds nothing."""

UNDECLARED = Declaration(Support.UNDECLARED, Provider.NOBODY, "nothing declared")


def guaranteed(source: str, note: str = "", by: Provider = Provider.BROKER) -> Declaration:
    return Declaration(Support.GUARANTEED, by, source, note)


def bounded(
    source: str, low: float | None, high: float | None, note: str = "", by: Provider = Provider.BROKER
) -> Declaration:
    """A QUANTITY that is guaranteed to lie within ``low`` and ``high``."""
    return Declaration(Support.GUARANTEED, by, source, note, low, high)


PROGRESS = bounded(
    "derived: a broker answers a waiting consumer as soon as a message is there",
    None,
    10.0,
    "the bound leaves room for messages that wait behind others, and for a busy machine",
)
"""``delivery.progress`` of a broker whose consumers wait in the broker."""


def measured_only(source: str, note: str = "") -> Declaration:
    """A QUANTITY without a bound, as a setting that bounds it was not told."""
    return Declaration(Support.UNDECLARED, Provider.NOBODY, source, note)


def possible(source: str, note: str = "") -> Declaration:
    return Declaration(Support.POSSIBLE, Provider.NOBODY, source, note)


def impossible(source: str, note: str = "", low: float | None = None) -> Declaration:
    """``low``: a QUANTITY needs a bound here too."""
    return Declaration(Support.IMPOSSIBLE, Provider.NOBODY, source, note, low)


def _vocabulary(*properties: Property) -> Mapping[str, Property]:
    return {entry.name: entry for entry in properties}


PROPERTIES: Mapping[str, Property] = _vocabulary(
    Property("delivery.no_loss", Kind.ALWAYS, "every acknowledged message is delivered"),
    Property("delivery.no_phantom", Kind.ALWAYS, "nothing is delivered that was not sent"),
    Property(
        "delivery.no_duplicate",
        Kind.ALWAYS,
        "a message is not delivered again to its group while a consumer holds it, nor after it was acknowledged",
    ),
    Property("delivery.intact", Kind.ALWAYS, "payloads arrive byte for byte as sent"),
    Property("delivery.progress", Kind.QUANTITY, "time until an acknowledged message reaches a group that asks", "s"),
    Property("delivery.key", Kind.ALWAYS, "a message is delivered under the key with which it was sent"),
    Property(
        "delivery.place",
        Kind.ALWAYS,
        "a message has one partition and place: as its sender was told, at every delivery, and in every replay",
    ),
    Property("delivery.own_place", Kind.ALWAYS, "two messages never have the same partition and place"),
    Property("delivery.key_partition", Kind.ALWAYS, "all messages of a key lie on one partition"),
    Property("delivery.count", Kind.ALWAYS, "the n-th delivery of a message to a group carries the number n"),
    Property(
        "delivery.broker_time",
        Kind.ALWAYS,
        "the broker's time of a message lies between its sending and its arrival, give or take 10 s between two clocks",
    ),
    Property(
        "delivery.broker_time_order",
        Kind.ALWAYS,
        "along a partition the broker's time never goes back by more than its clock resolves",
    ),
    Property("send.settled_once", Kind.ALWAYS, "each send is settled once, with one outcome"),
    Property("replay.from_beginning", Kind.CAN, "acknowledged messages can be read again from the beginning"),
    Property("replay.from_position", Kind.CAN, "acknowledged messages can be read again from a position"),
    Property("replay.from_time", Kind.CAN, "acknowledged messages can be read again from a time"),
    Property(
        "replay.independent_reader",
        Kind.CAN,
        "a second reader reads everything while the first goes on, and neither disturbs the other",
    ),
    Property("replay.complete", Kind.ALWAYS, "a replay contains every message that it should, and no other"),
    Property("replay.intact", Kind.ALWAYS, "a replay is byte for byte what was sent"),
    Property("replay.order", Kind.ALWAYS, "a replay is in the order of the first delivery, per key"),
    Property("replay.time_offset", Kind.QUANTITY, "first replayed message against the time asked for", "ms"),
    Property("ordering.channel", Kind.ALWAYS, "the whole channel is delivered in the order of sending"),
    Property("ordering.per_key.one_consumer", Kind.ALWAYS, "order per key holds with one consumer"),
    Property("ordering.per_key.three_consumers", Kind.ALWAYS, "order per key holds across three concurrent consumers"),
    Property(
        "ordering.per_key.several_producers",
        Kind.ALWAYS,
        "order per key and producer holds when several producers write the same keys",
    ),
    Property(
        "ordering.per_key.after_redelivery",
        Kind.ALWAYS,
        "order per key holds after a failed delivery was released: later ones wait for it",
    ),
    Property("redelivery.after_release", Kind.CAN, "a released delivery comes back without waiting for its lease"),
    Property("retention.by_age", Kind.CAN, "messages older than a limit are removed"),
    Property("retention.by_size", Kind.CAN, "the oldest messages are removed beyond a size"),
    Property("retention.not_early", Kind.ALWAYS, "no message is removed before its limit"),
    Property("retention.overshoot", Kind.QUANTITY, "time from the age limit until the message is really gone", "s"),
    Property("retention.overshoot_large_segment", Kind.QUANTITY, "the same with default-like large segments", "s"),
    Property("retention.size_excess", Kind.QUANTITY, "kept beyond the size limit, relative to the limit", "ratio"),
    Property("retention.unread_survives", Kind.CAN, "an unread message survives its limit"),
    Property("retention.unacknowledged_survives", Kind.CAN, "a delivered, unacknowledged message survives its limit"),
    Property("retention.acknowledged_kept", Kind.CAN, "an acknowledged message stays readable until its limit"),
)
