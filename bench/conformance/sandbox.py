"""What checks share: a connection with channels that go when the check ends, and the usual moves on them."""

from __future__ import annotations

import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

from brokerbench.bench.conformance.model import Context, Violated, expect
from brokerbench.brokers.errors import BrokerError
from brokerbench.brokers.protocols import Broker, Consumer
from brokerbench.brokers.types import (
    Batch,
    ChannelSpec,
    ConsumerSettings,
    DeadLetterPolicy,
    Outcome,
    ProducerSettings,
    Received,
    Retention,
    Settlements,
)

LONG_LEASE_S = 60.0
"""Of channels on which nothing should come back by itself."""


@dataclass(slots=True)
class Sandbox:
    """One connection, and what the check made through it."""

    context: Context
    broker: Broker
    channels: list[str] = field(default_factory=list)

    def channel(
        self,
        *,
        partitions: int = 1,
        lease_s: float = LONG_LEASE_S,
        retention: Retention | None = None,
        dead_letter: DeadLetterPolicy | None = None,
        name_prefix: str = "",
    ) -> str:
        """A new channel of a name that is new."""
        name = f"{name_prefix}{self.new_name()}"
        self.broker.create_channel(ChannelSpec(name, partitions, lease_s, retention, dead_letter))
        self.channels.append(name)
        return name

    def new_name(self) -> str:
        return f"{self.context.prefix}{uuid.uuid4().hex[:12]}"

    def consumer(self, channel: str, group: str = "conformance", name: str = "consumer-0") -> Consumer:
        return self.broker.consumer(channel, ConsumerSettings(group, name))

    def send(self, channel: str, payloads: Sequence[bytes], keys: Sequence[bytes] | None = None) -> Settlements:
        """All of them, acknowledged."""
        producer = self.broker.producer(channel, ProducerSettings())
        producer.send(Batch(payloads, keys))
        settled = producer.flush(self.context.patience_s)
        producer.close()
        expect(
            len(settled) == len(payloads) and bool((settled.outcomes == Outcome.ACKNOWLEDGED).all()),
            f"of {len(payloads)} messages {acknowledged(settled)} were acknowledged: {errors_of(settled)}",
        )
        return settled

    def first(self, consumer: Consumer, most: int = 10) -> Received:
        """The first delivery. Raises Violated when none comes."""
        deadline = time.monotonic() + self.context.patience_s
        while (left_s := deadline - time.monotonic()) > 0:
            received = consumer.receive(most, min(left_s, 1.0))
            if len(received):
                return received
        raise Violated(f"nothing was delivered within {self.context.patience_s:g} s")

    def gather(self, consumer: Consumer, count: int) -> list[tuple[bytes | None, bytes]]:
        """Receive and acknowledge until ``count`` different messages came: (key, payload) of every delivery."""
        found: list[tuple[bytes | None, bytes]] = []
        deadline = time.monotonic() + self.context.patience_s
        while len(set(found)) < count and time.monotonic() < deadline:
            received = consumer.receive(100, 1.0)
            found += zip(received.keys, received.payloads, strict=True)
            settle_all(consumer, received)
        return found

    def payloads(self, consumer: Consumer, count: int) -> list[bytes]:
        """As ``gather``, without keys."""
        return [payload for _, payload in self.gather(consumer, count)]


@contextmanager
def sandbox(context: Context) -> Iterator[Sandbox]:
    """A connection of its own; its channels are deleted at the end, whatever happened."""
    broker = context.connect()
    place = Sandbox(context, broker)
    try:
        yield place
    finally:
        with suppress(BrokerError):
            broker.close()
        if place.channels:
            cleaner = context.connect()
            for name in reversed(place.channels):
                with suppress(BrokerError):
                    cleaner.delete_channel(name)
            cleaner.close()


def acknowledged(settled: Settlements) -> int:
    return int((settled.outcomes == Outcome.ACKNOWLEDGED).sum())


def errors_of(settled: Settlements) -> str:
    return "; ".join(list(settled.errors.values())[:3]) or "without a reason"


def settle_all(consumer: Consumer, received: Received) -> None:
    """Acknowledge, and insist on it."""
    if len(received):
        settled = consumer.acknowledge(received)
        expect(
            acknowledged(settled) == len(received),
            f"of {len(received)} deliveries {acknowledged(settled)} could be acknowledged: {errors_of(settled)}",
        )


def same(context: Context, sent: Sequence[bytes], got: Sequence[bytes]) -> None:
    """Raises Violated unless these are the same messages; repetitions count where there must be none."""
    wanted, seen = Counter(sent), Counter(got)
    missing, strange = list(wanted - seen), [payload for payload in seen if payload not in wanted]
    expect(not missing, f"{len(missing)} of {len(sent)} messages did not arrive, the first: {short(missing)}")
    expect(not strange, f"{len(strange)} arrived that were not sent, the first: {short(strange)}")
    if context.once:
        extra = list(seen - wanted)
        expect(not extra, f"{len(extra)} arrived twice although that is declared impossible: {short(extra)}")


def short(payloads: Sequence[bytes]) -> str:
    if not payloads:
        return "none"
    head = payloads[0]
    return f"{head[:24]!r} ({len(head)} bytes)"


def refuses(
    what: str, kinds: type[BrokerError] | tuple[type[BrokerError], ...], action: Callable[[], object]
) -> BrokerError:
    """The error that ``action`` raised, which must be of ``kinds``."""
    wanted = " or ".join(kind.__name__ for kind in (kinds if isinstance(kinds, tuple) else (kinds,)))
    try:
        action()
    except kinds as refusal:
        return refusal
    except Exception as error:
        raise Violated(f"{what} must raise {wanted}, and raised {type(error).__name__}: {error}") from error
    raise Violated(f"{what} must raise {wanted}, and went through")


def numbers(count: int, start: int = 0) -> list[bytes]:
    """Payloads that differ."""
    return [b"message %d" % number for number in range(start, start + count)]
