"""The powers of an adapter, as small protocols; optional ones are separate and probed with ``isinstance``.

Every call is synchronous and batched. No object is safe for use from two threads at once unless it
says so; a second thread in a busy object gets ``Misuse``, never a silent race. Consumers and
producers of one ``Broker`` may be used by different threads side by side.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol, Self, runtime_checkable

from brokerbench.brokers.declarations import ProfileDeclaration
from brokerbench.brokers.types import (
    Batch,
    ChannelSpec,
    ConsumerSettings,
    Endpoint,
    Indices,
    Position,
    ProducerSettings,
    Received,
    ReplayStart,
    SendReceipt,
    Settlements,
)


@runtime_checkable
class Producer(Protocol):
    """Sends to one channel. Sent is not settled: fates arrive through ``poll`` and ``flush``."""

    def send(self, batch: Batch) -> SendReceipt:
        """Hand over a batch of any length (the adapter splits it). Blocks only for room in flight.

        Raises Misuse for a malformed batch. A message beyond a size limit is rejected by index, and
        the others are sent.
        """

    def poll(self) -> Settlements:
        """Settlements that arrived since the last call; never blocks."""

    def flush(self, timeout_s: float) -> Settlements:
        """Wait until all sends are settled, or ``timeout_s``; open sends stay open.

        Returns all settlements that ``poll`` has not returned. Unsettled tickets may still settle later.
        """

    def close(self) -> Settlements:
        """Give up the sends still in flight: returns them as UNKNOWN. Idempotent (then empty)."""


@runtime_checkable
class Consumer(Protocol):
    """A member of a group on one channel; each delivery must be settled."""

    def receive(self, max_messages: int, wait_s: float) -> Received:
        """Return at the first available message, with at most ``max_messages``; empty after ``wait_s``.

        Returns all that is at hand together: a full batch where the backlog allows it.
        """

    def acknowledge(self, received: Received, indices: Indices = None) -> Settlements:
        """Done with these: never deliver them to this group again.

        Columns: ``tickets`` = indices into ``received``; UNKNOWN when the broker did not answer.
        Where granularity is "up to a position", raises Unsupported for an acknowledgement that would
        silently cover an unsettled earlier message. Returns when the broker has answered.
        """

    def close(self) -> None:
        """Leave the group. Unsettled deliveries return to the channel when their lease ends."""


@runtime_checkable
class Bundling(Protocol):
    """A consumer that can acknowledge several deliveries in one request."""

    def acknowledge_all(self, batches: Sequence[Received]) -> list[Settlements]:
        """``acknowledge`` each of these whole, oldest first. Returns when the broker has answered."""


@runtime_checkable
class Pipelining(Protocol):
    """A consumer that can go on while its broker works, where client and broker would otherwise take turns."""

    def receive_and_acknowledge(self, max_messages: int, wait_s: float) -> Received:
        """``receive``, acknowledge all of it and request the next messages, without waiting for those two answers.

        The broker may hold the requested messages for this consumer from now on, like received ones.
        """

    def answers(self, timeout_s: float | None = None) -> list[Settlements]:
        """Outcomes of those acknowledgements, one ``Settlements`` per batch in order, as ``acknowledge`` returns them.

        Without a time-out, returns those that have arrived. With one, waits for all; an acknowledgement still open
        then is UNKNOWN, and no later answer changes that.
        """


@runtime_checkable
class Releasable(Protocol):
    """A consumer that can give deliveries back at once ("failed, try again")."""

    def release(self, received: Received, indices: Indices = None) -> Settlements: ...


@runtime_checkable
class Rejectable(Protocol):
    """A consumer that can mark deliveries as poison: never again, to the dead letters if any."""

    def reject(self, received: Received, indices: Indices = None) -> Settlements: ...


@runtime_checkable
class Extendable(Protocol):
    """A consumer that can prolong the lease of deliveries it holds."""

    def extend(self, received: Received, lease_s: float, indices: Indices = None) -> Settlements: ...


@runtime_checkable
class Reader(Protocol):
    """Reads a channel again, outside any group; moves no group's position and settles nothing."""

    def read(self, max_messages: int, wait_s: float) -> Received:
        """Same contract as ``Consumer.receive``; ``delivery_counts`` are UNKNOWN_COUNT."""

    def close(self) -> None: ...


@runtime_checkable
class Broker(Protocol):
    """A connection to one broker under one profile. Connecting changes nothing on the broker."""

    @classmethod
    def connect(cls, endpoint: Endpoint) -> Self:
        """Raises Unreachable when nothing answers there."""

    def declaration(self) -> ProfileDeclaration: ...

    def server_version(self) -> str:
        """Product and version as the running broker answers, e.g. ``"Redis 8.2.3"``."""

    def create_channel(self, spec: ChannelSpec) -> None:
        """Returns when the channel can be used (metadata settled). Raises Refused if it exists."""

    def delete_channel(self, name: str) -> None:
        """Idempotent."""

    def list_channels(self, prefix: str) -> list[str]:
        """Names of channels that start with ``prefix`` (for cleaning up after a run)."""

    def producer(self, channel: str, settings: ProducerSettings) -> Producer: ...

    def consumer(self, channel: str, settings: ConsumerSettings) -> Consumer: ...

    def close(self) -> None:
        """Close every producer, consumer and reader that is still open. Idempotent.

        Raises Misuse while another thread is inside one of them; then all others are closed, and closing again takes
        the rest.
        """


@runtime_checkable
class Configured(Protocol):
    """A broker whose promises depend on its settings: ``declaration`` is derived from them."""

    def settings(self) -> Mapping[str, str]:
        """The settings in force on which the declaration depends, by the broker's own names.

        The value is ``NOT_TOLD`` where the broker tells none; such a setting bounds nothing.
        """


@runtime_checkable
class Replayable(Protocol):
    """A broker that can read consumed and acknowledged messages again."""

    def reader(self, channel: str, start: ReplayStart) -> Reader:
        """Reads all partitions from ``start`` on, and continues with later arrivals."""


@runtime_checkable
class Bounded(Protocol):
    """A broker that tells where a channel begins and ends."""

    def bounds(self, channel: str) -> tuple[Position, Position]:
        """(place of the first kept message, place after the last) for each partition.

        An empty partition has equal places. A drain is proven by these.
        """


@runtime_checkable
class Retaining(Protocol):
    """A broker that enforces retention by an explicit call (adapter-provided), not by a policy."""

    def enforce_retention(self, channel: str) -> int:
        """Apply the channel's ``Retention`` now; returns the number of removed messages."""


@runtime_checkable
class Counting(Protocol):
    """A broker that tells how many messages a channel keeps for a group (proof of a drain)."""

    def backlog(self, channel: str, group: str) -> int:
        """Messages not yet acknowledged by ``group``: waiting, delayed and in flight together."""
