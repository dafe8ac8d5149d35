"""A broker that breaks its promises on purpose, so that every checker can be seen to fail.

``Faulty`` wraps a memory broker and commits the given faults. The fault's seed and the message's place alone decide
whether a message is hit: the same run hits the same messages, with any timing of threads. ``offenders`` records every
hit with the payload as it was sent, for comparison with a checker's findings.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace

from brokerbench.brokers.contract import check
from brokerbench.brokers.declarations import ProfileDeclaration
from brokerbench.brokers.errors import Misuse
from brokerbench.brokers.faulty import deduplication
from brokerbench.brokers.faulty.consumer import FaultyConsumer, FaultyReader
from brokerbench.brokers.faulty.faults import Fault, FaultName, Offender
from brokerbench.brokers.faulty.injector import Injector
from brokerbench.brokers.faulty.kept import Kept
from brokerbench.brokers.faulty.withheld import rows_of
from brokerbench.brokers.memory.broker import Memory, MemoryProducer, Space
from brokerbench.brokers.types import (
    NO_PARTITION,
    NO_PLACE,
    Batch,
    ChannelSpec,
    ConsumerSettings,
    Endpoint,
    FromBeginning,
    Outcome,
    Position,
    ProducerSettings,
    ReplayStart,
    SendReceipt,
    Settlements,
)

_PAGE = 1000


class Faulty:
    """``inner`` with ``faults``. All connections of a run come from one object by ``again``: they share their hits."""

    def __init__(self, inner: Memory, faults: Sequence[Fault]) -> None:
        self._inner = inner
        self._injector = Injector(faults, inner.space)

    @classmethod
    def connect(cls, endpoint: Endpoint) -> Faulty:
        """``options["faults"]``: ``name:rate[:seed]``, comma-separated, over the memory broker of this address.

        Connections to one address with the same faults share their hits.
        """
        faults = endpoint.options.get("faults", "")
        first = _CONNECTED.get((endpoint.address, faults))
        if first is None:
            first = _CONNECTED[endpoint.address, faults] = cls(Memory.connect(endpoint), parse_faults(faults))
        return first.again()

    def again(self) -> Faulty:
        """Another connection to the same messages, faults and hits."""
        other = Faulty(Memory(self._inner.space), ())
        other._injector = self._injector
        return other

    @property
    def offenders(self) -> Mapping[FaultName, Sequence[Offender]]:
        """The messages that each fault really hit, in order."""
        return self._injector.offenders()

    def crash(self) -> None:
        """The broker stops and starts again: the victims of ``lose_last_before_crash`` are gone from now on."""
        self._injector.crash()

    def declaration(self) -> ProfileDeclaration:
        """The promises of the inner broker, which the faults break."""
        return self._inner.declaration()

    def server_version(self) -> str:
        return f"faulty {self._inner.server_version()}"

    def create_channel(self, spec: ChannelSpec) -> None:
        self._inner.create_channel(self._injector.adopt(spec))

    def delete_channel(self, name: str) -> None:
        self._inner.delete_channel(name)

    def list_channels(self, prefix: str) -> list[str]:
        return self._inner.list_channels(prefix)

    def producer(self, channel: str, settings: ProducerSettings) -> FaultyProducer:
        return FaultyProducer(self._inner.producer(channel, settings), self._injector, self._inner.space, channel)

    def consumer(self, channel: str, settings: ConsumerSettings) -> FaultyConsumer:
        inner = self._inner.consumer(channel, settings)
        return FaultyConsumer(
            inner, self._injector, self._inner.space, channel, self._injector.withheld(channel, settings.group)
        )

    def reader(self, channel: str, start: ReplayStart) -> FaultyReader:
        return FaultyReader(self._inner.reader(channel, start), self._injector, self._inner.space, channel)

    def bounds(self, channel: str) -> tuple[Position, Position]:
        begin, end = self._inner.bounds(channel)
        if not self._injector.changes_retention:
            return begin, end
        firsts, kept = dict(end.places), Kept(self._injector, self._inner.space, channel)
        reader = self._inner.reader(channel, FromBeginning())
        while page := rows_of(reader.read(_PAGE, 0.0)):
            for row in page:
                if kept.shows(row):
                    firsts[row.partition] = min(firsts[row.partition], row.place)
        return Position(firsts), end

    def enforce_retention(self, channel: str) -> int:
        return self._inner.enforce_retention(channel)

    def backlog(self, channel: str, group: str) -> int:
        """The inner broker's backlog, and the deliveries that faults withhold."""
        withheld = self._injector.withheld(channel, group)
        return self._inner.backlog(channel, group) + withheld.size() + withheld.never_delivered()

    def close(self) -> None:
        self._inner.close()


class FaultyProducer:
    """Reports false outcomes of some sends. Losses happen at delivery: the broker acknowledged, then dropped."""

    def __init__(self, inner: MemoryProducer, injector: Injector, space: Space, channel: str) -> None:
        self._inner = inner
        self._injector = injector
        self._space = space
        self._channel = channel
        self._payloads: dict[int, bytes] = {}
        self._hits: deduplication.Hits = {}

    def send(self, batch: Batch) -> SendReceipt:
        check(batch)
        with self._space.changed:
            disturbed, hits = deduplication.disturbed(self._injector, self._space.log(self._channel), batch)
            receipt = self._inner.send(disturbed)
        self._payloads.update(enumerate(batch.payloads, receipt.first_ticket))
        self._hits |= {receipt.first_ticket + at: name for at, name in hits.items()}
        return receipt

    def poll(self) -> Settlements:
        return self._with_false_outcomes(self._inner.poll())

    def flush(self, timeout_s: float) -> Settlements:
        return self._with_false_outcomes(self._inner.flush(timeout_s))

    def close(self) -> Settlements:
        return self._with_false_outcomes(self._inner.close())

    def _with_false_outcomes(self, settled: Settlements) -> Settlements:
        errors, twice = dict(settled.errors), list[int]()
        outcomes, partitions, places = settled.outcomes.copy(), settled.partitions.copy(), settled.places.copy()
        for at, ticket in enumerate(settled.tickets.tolist()):
            payload = self._payloads.pop(ticket)
            partition, place = int(partitions[at]), int(places[at])
            if ticket in self._hits:
                self._injector.hit(self._hits.pop(ticket), partition, place, payload)
            places[at] = self._injector.place_told(partition, place, payload)
            if self._injector.strikes(FaultName.SETTLED_TWICE, partition, place):
                self._injector.hit(FaultName.SETTLED_TWICE, partition, place, payload)
                twice.append(ticket)
            for name, outcome in _FALSE_OUTCOMES.items():
                if self._injector.strikes(name, partition, place):
                    self._injector.hit(name, partition, place, payload)
                    outcomes[at], partitions[at], places[at] = outcome, NO_PARTITION, NO_PLACE
                    errors[ticket] = f"fault: {name}"
                    break
        told = replace(settled, outcomes=outcomes, partitions=partitions, places=places, errors=errors)
        again = [Settlements.uniform(ticket, 1, Outcome.UNKNOWN, time.monotonic_ns()) for ticket in twice]
        return Settlements.concat([told, *again])


_CONNECTED: dict[tuple[str, str], Faulty] = {}
_FALSE_OUTCOMES = {
    FaultName.REJECT_BUT_DELIVER: Outcome.REJECTED,
    FaultName.UNKNOWN_OUTCOME: Outcome.UNKNOWN,
    FaultName.UNKNOWN_AND_LOSE: Outcome.UNKNOWN,
    FaultName.REFUSE: Outcome.REJECTED,
}


def parse_faults(text: str) -> list[Fault]:
    """``"lose:0.01:7,corrupt:0.5"`` -> faults. Raises Misuse."""
    faults = []
    for part in filter(None, text.split(",")):
        name, _, numbers = part.strip().partition(":")
        rate, _, seed = numbers.partition(":")
        try:
            faults.append(Fault(FaultName(name), float(rate), int(seed or 0)))
        except ValueError as error:
            raise Misuse(f"fault {part!r} is not name:rate[:seed]: {error}") from None
    return faults
