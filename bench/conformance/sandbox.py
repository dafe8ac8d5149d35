"""Shared by the checks: a connection whose channels are deleted when the check ends, and common steps on them."""

from __future__ import annotations

import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import TypeVar

from brokerbench.bench.conformance.model import Context, Violated, expect
from brokerbench.brokers.errors import BrokerError
from brokerbench.brokers.protocols import Broker, Consumer, Producer
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
"""Lease of channels on which nothing should come back by itself, in seconds."""

_RETRY_S = 0.01

Rows = list[tuple[bytes | None, bytes]]
"""(key, payload) of deliveries."""
Answer = TypeVar("Answer")


@dataclass(slots=True)
class Sandbox:
    """One connection, and the channels that the check made through it."""

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
        """The name of a new channel."""
        name = f"{name_prefix}{self.new_name()}"
        self.broker.create_channel(ChannelSpec(name, partitions, lease_s, retention, dead_letter))
        self.channels.append(name)
        return name

    def new_name(self) -> str:
        return f"{self.context.prefix}{uuid.uuid4().hex[:12]}"

    def filled(
        self, payloads: Sequence[bytes], keys: Sequence[bytes] | None = None, lease_s: float = LONG_LEASE_S
    ) -> str:
        """A new channel that holds these messages."""
        channel = self.channel(lease_s=lease_s)
        self.send(channel, payloads, keys)
        return channel

    def producer(self, channel: str, settings: ProducerSettings | None = None) -> Producer:
        return self.broker.producer(channel, settings or ProducerSettings())

    def consumer(self, channel: str, group: str = "conformance", name: str = "consumer-0") -> Consumer:
        return self.broker.consumer(channel, ConsumerSettings(group, name))

    def send(self, channel: str, payloads: Sequence[bytes], keys: Sequence[bytes] | None = None) -> Settlements:
        """Send all. Raises Violated unless all are acknowledged."""
        producer = self.producer(channel)
        producer.send(Batch(payloads, keys))
        settled = producer.flush(self.context.patience_s)
        producer.close()
        expect(
            len(settled) == len(payloads) and bool((settled.outcomes == Outcome.ACKNOWLEDGED).all()),
            f"of {len(payloads)} messages {acknowledged(settled)} were acknowledged: {errors_of(settled)}",
        )
        return settled

    def first(self, consumer: Consumer, most: int = 10) -> Received:
        """The first delivery. Raises Violated when there is none within the patience."""
        deadline = time.monotonic() + self.context.patience_s
        while (left_s := deadline - time.monotonic()) > 0:
            received = consumer.receive(most, min(left_s, 1.0))
            if len(received):
                return received
        raise Violated(f"nothing was delivered within {self.context.patience_s:g} s")

    def gather(self, consumer: Consumer, count: int) -> Rows:
        """Receive and acknowledge until ``count`` different messages came, or the patience is over."""
        return self.gather_until(lambda found: len(set(found)) >= count, consumer)

    def gather_until(
        self, done: Callable[[Rows], bool], *consumers: Consumer, most: int = 100, wait_s: float = 1.0
    ) -> Rows:
        """Receive and acknowledge, consumers in turns, until ``done`` with all deliveries, or the patience is over."""
        found: Rows = []
        deadline = time.monotonic() + self.context.patience_s
        while not done(found) and time.monotonic() < deadline:
            for consumer in consumers:
                received = consumer.receive(most, wait_s)
                found += zip(received.keys, received.payloads, strict=True)
                settle_all(consumer, received)
        return found

    def payloads(self, consumer: Consumer, count: int) -> list[bytes]:
        """As ``gather``, without keys."""
        return [payload for _, payload in self.gather(consumer, count)]

    def refuses_channel(self, what: str, kind: type[BrokerError], spec: ChannelSpec) -> None:
        """The channel must be refused, and must not exist afterwards."""
        refuses(what, kind, lambda: self.broker.create_channel(spec))
        expect(self.broker.list_channels(spec.name) == [], f"{what}: a refused channel was left behind")


@contextmanager
def sandbox(context: Context) -> Iterator[Sandbox]:
    """A new connection; its channels are deleted at the end, also after an error."""
    opened = Sandbox(context, context.connect())
    try:
        yield opened
    finally:
        with suppress(BrokerError):
            opened.broker.close()
        if opened.channels:
            cleaner = context.connect()
            for name in reversed(opened.channels):
                with suppress(BrokerError):
                    cleaner.delete_channel(name)
            cleaner.close()


def patiently(
    context: Context, action: Callable[[], Answer], errors: type[Exception] | tuple[type[Exception], ...], what: str
) -> Answer:
    """The answer of ``action``, called again while it raises ``errors``. Raises Violated when the patience is over."""
    deadline = time.monotonic() + context.patience_s
    while True:
        try:
            return action()
        except errors as problem:
            expect(time.monotonic() < deadline, f"{what} for {context.patience_s:g} s: {problem}")
            time.sleep(_RETRY_S)


def acknowledged(settled: Settlements) -> int:
    return int((settled.outcomes == Outcome.ACKNOWLEDGED).sum())


def errors_of(settled: Settlements) -> str:
    return "; ".join(list(settled.errors.values())[:3]) or "without a reason"


def settle_all(consumer: Consumer, received: Received) -> None:
    """Acknowledge. Raises Violated unless all were acknowledged."""
    if len(received):
        settled = consumer.acknowledge(received)
        expect(
            acknowledged(settled) == len(received),
            f"of {len(received)} deliveries {acknowledged(settled)} could be acknowledged: {errors_of(settled)}",
        )


def same(context: Context, sent: Sequence[bytes], got: Sequence[bytes]) -> None:
    """Raises Violated unless these are the same messages; repetitions count where the profile excludes them."""
    wanted, seen = Counter(sent), Counter(got)
    missing, strange = list(wanted - seen), [payload for payload in seen if payload not in wanted]
    expect(not missing, f"{len(missing)} of {len(sent)} messages did not arrive, the first: {short(missing)}")
    expect(not strange, f"{len(strange)} arrived that were not sent, the first: {short(strange)}")
    if context.once:
        extra = list(seen - wanted)
        expect(not extra, f"{len(extra)} arrived twice although that is declared impossible: {short(extra)}")


def short(payloads: Sequence[bytes]) -> str:
    return f"{payloads[0][:24]!r} ({len(payloads[0])} bytes)" if payloads else "none"


def refuses(what: str, kind: type[BrokerError], action: Callable[[], object]) -> None:
    """Raises Violated unless ``action`` raises ``kind``."""
    try:
        action()
    except kind:
        return
    except Exception as error:
        raise Violated(f"{what} must raise {kind.__name__}, and raised {type(error).__name__}: {error}") from error
    raise Violated(f"{what} must raise {kind.__name__}, and went through")


def numbers(count: int, start: int = 0) -> list[bytes]:
    """``count`` different payloads."""
    return [b"message %d" % number for number in range(start, start + count)]
