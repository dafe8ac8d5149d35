"""The receiving side of a faulty broker: consumers and readers that deliver wrongly."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace

import numpy as np

from brokerbench.brokers.contract import chosen
from brokerbench.brokers.faulty.faults import FaultName
from brokerbench.brokers.faulty.injector import LATE, Injector, next_elsewhere, next_of_key, next_of_partition
from brokerbench.brokers.faulty.kept import Kept
from brokerbench.brokers.faulty.withheld import Row, Withheld, received_of, rows_of
from brokerbench.brokers.memory.broker import MemoryConsumer, MemoryReader, Space
from brokerbench.brokers.settling import Outcomes
from brokerbench.brokers.types import NO_PLACE, Indices, IntColumn, Outcome, Received, Settlements


class FaultyConsumer:
    """``Received.handle`` is the list of rows; settling rows without a source has no effect."""

    def __init__(
        self, inner: MemoryConsumer, injector: Injector, space: Space, channel: str, withheld: Withheld
    ) -> None:
        self._inner = inner
        self._injector = injector
        self._space = space
        self._channel = channel
        self._withheld = withheld

    def receive(self, max_messages: int, wait_s: float) -> Received:
        give_up_ns = time.monotonic_ns() + int(wait_s * 1e9)
        while True:
            rows = self._withheld.take(max_messages)
            rows += self._no_longer_late(max_messages - len(rows))
            left_s = 0.0 if rows else max(0.0, (give_up_ns - time.monotonic_ns()) / 1e9)
            fresh: list[Row] = []
            if len(rows) < max_messages:
                # Withheld rows must not wait for the whole of ``wait_s`` where nothing can overtake them.
                holds = self._withheld.size() or self._withheld.holds_late()
                patience_s = min(left_s, 0.05) if holds else left_s
                fresh = rows_of(self._inner.receive(max_messages - len(rows), patience_s))
                rows += self._with_faults(fresh, max_messages - len(rows))
                if not fresh:
                    self._withheld.stop_holding()
            if rows or not (fresh or self._withheld.size() or time.monotonic_ns() < give_up_ns):
                return received_of(rows, [self._injector.shown(self._channel, row) for row in rows])

    def _with_faults(self, fresh: list[Row], room: int) -> list[Row]:
        """At most ``room`` rows; the others are withheld for the next call."""
        injector = self._injector
        late: dict[bytes | None, int] = {}
        kept = Kept(self._injector, self._space, self._channel) if self._injector.changes_retention else None
        rows = [row for row in fresh if self._is_present(row, kept, late)]
        present = list(rows)
        for name, partner in _SWAPS.items():
            rows = injector.swapped(name, rows, partner, first=True)
        for row in present if injector.has(FaultName.DUPLICATE_WHILE_HELD) else ():
            if row.count == 1 and injector.happens(FaultName.DUPLICATE_WHILE_HELD, row):
                self._withheld.put(row.again())
        for name, held in self._withheld.overtake(present):
            injector.hit(name, held.partition, held.place, held.payload)
            self._add(rows, held, room)
        for row in present if injector.has(FaultName.EARLY_REDELIVERY, FaultName.PHANTOM) else ():
            # In the same batch or not at all: after a settlement it would be a duplicate instead.
            if row.count == 1 and len(rows) < room and injector.happens(FaultName.EARLY_REDELIVERY, row):
                rows.append(row.again())
            if row.count == 1 and (payload := injector.phantom_beside(row)) is not None:
                injector.hit(FaultName.PHANTOM, row.partition, NO_PLACE, payload)
                self._add(rows, replace(row, payload=payload, place=NO_PLACE, source=None), room)
        return rows

    def _is_present(self, row: Row, kept: Kept | None, late: dict[bytes | None, int]) -> bool:
        """Whether it is delivered now. A lost row is finished, a late one is kept until its time.

        ``late``: key of an earlier late row of this batch -> its time; later rows of the key wait for it.
        """
        injector = self._injector
        if injector.is_lost(self._channel, row) or (kept is not None and not kept.shows(row)):
            self._finish(row)
            if injector.strikes(FaultName.WITHHOLD, row.partition, row.place):
                self._withheld.keep_for_ever()
            if injector.strikes(FaultName.LOSE_AND_DUPLICATE, row.partition, row.place):
                self._withheld.owe_duplicate()
                self._deliver_owed()
            return False
        if row.count > 1 and self._withheld.was_unanswered(row):
            injector.hit(FaultName.LOSE_ACKNOWLEDGEMENT, row.partition, row.place, row.payload)
        lapsed = row.count > 1 and not self._withheld.was_asked_for(row)
        return not (lapsed and self._is_held_for_a_later_one(row)) and not self._comes_late(row, lapsed, late)

    def _is_held_for_a_later_one(self, row: Row) -> bool:
        injector = self._injector
        if row.key is None or not injector.strikes(FaultName.REORDER_ACROSS_LEASE, row.partition, row.place):
            return False
        self._finish(row)  # so that its key is free
        self._withheld.hold(replace(row, source=None), FaultName.REORDER_ACROSS_LEASE)
        return True

    def _comes_late(self, row: Row, lapsed: bool, late: dict[bytes | None, int]) -> bool:
        """Withhold a late row under a lease that does not end by itself, so that its key stays locked."""
        injector = self._injector
        waits = row.key is not None and row.key in late
        struck = lapsed and injector.strikes(FaultName.LATE_REDELIVERY, row.partition, row.place)
        if row.source is None or not (waits or struck):
            return False
        if lapsed:
            injector.hit(FaultName.LATE_REDELIVERY, row.partition, row.place, row.payload)
        received, at = row.source
        self._inner.extend(received, _ENDLESS_S, [at])
        due_ns = injector.now_ns() + int(LATE * injector.lease_s(self._channel) * 1e9)
        self._withheld.hold_until(late.setdefault(row.key, due_ns), row)
        return True

    def _no_longer_late(self, count: int) -> list[Row]:
        """Late rows that are due, each under a new lease; those that were acknowledged are duplicates."""
        injector = self._injector
        rows = self._withheld.take_late(count, injector.now_ns()) if count else []
        for row in rows:
            if row.source is not None:
                received, at = row.source
                self._inner.extend(received, injector.lease_s(self._channel), [at])
            else:
                injector.hit(FaultName.DUPLICATE_AFTER_LEASE, row.partition, row.place, row.payload)
        return rows

    def _deliver_owed(self) -> None:
        for row in self._withheld.deliver_owed():
            self._injector.hit(FaultName.DUPLICATE, row.partition, row.place, row.payload)

    def _add(self, rows: list[Row], row: Row, room: int) -> None:
        if len(rows) < room:
            rows.append(row)
        else:
            self._withheld.put(row)

    def _finish(self, row: Row) -> None:
        """Take a message from the inner broker for good."""
        if row.source is not None:
            received, at = row.source
            self._inner.acknowledge(received, [at])

    def acknowledge(self, received: Received, indices: Indices = None) -> Settlements:
        tickets = chosen(indices, len(received))
        rows: list[Row] = received.handle or []
        injector = self._injector
        may_be_ignored = tickets.tolist() if injector.has(FaultName.LOSE_ACKNOWLEDGEMENT) else []
        ignored = [ticket for ticket in may_be_ignored if self._shall_be_ignored(rows[ticket])]
        done = [ticket for ticket in tickets.tolist() if ticket not in ignored]
        settled = self._settle(received, np.array(done, np.int64), self._inner.acknowledge)
        followed = zip(done, settled.outcomes.tolist(), strict=True) if injector.has(*_AFTER_ACKNOWLEDGEMENT) else ()
        for ticket, outcome in followed:
            if outcome == Outcome.ACKNOWLEDGED and rows[ticket].source is not None:
                self._acknowledged(rows[ticket])
        for ticket in ignored:
            self._withheld.leave_unanswered(rows[ticket])
        return Settlements.concat([settled, _unanswered(received, np.array(ignored, np.int64))])

    def _shall_be_ignored(self, row: Row) -> bool:
        first = row.source is not None and row.count == 1
        return first and self._injector.strikes(FaultName.LOSE_ACKNOWLEDGEMENT, row.partition, row.place)

    def _acknowledged(self, row: Row) -> None:
        injector = self._injector
        injector.add_dead_letter(self._channel, row)
        if injector.strikes(FaultName.DUPLICATE_AFTER_LEASE, row.partition, row.place) and row.count == 1:
            lease_ns = int(injector.lease_s(self._channel) * 1e9)
            self._withheld.hold_until(injector.now_ns() + lease_ns, row.again())
        if injector.happens(FaultName.DUPLICATE, row):
            self._withheld.put(row.again())
        elif injector.has(FaultName.LOSE_AND_DUPLICATE):
            self._withheld.offer_duplicate(row)
            self._deliver_owed()

    def release(self, received: Received, indices: Indices = None) -> Settlements:
        """Rows to be overtaken are finished in the inner broker, so that their keys are free, and held here."""
        tickets = chosen(indices, len(received))
        rows: list[Row] = received.handle or []
        held = [ticket for ticket in tickets.tolist() if self._shall_be_overtaken(rows[ticket])]
        kept = [ticket for ticket in tickets.tolist() if ticket not in held]
        parts = [
            self._settle(received, np.array(held, np.int64), self._inner.acknowledge),
            self._settle(received, np.array(kept, np.int64), self._inner.release),
        ]
        for ticket, outcome in zip(held, parts[0].outcomes.tolist(), strict=True):
            if outcome == Outcome.ACKNOWLEDGED:
                self._withheld.hold(rows[ticket].again(), FaultName.REORDER_ACROSS_REDELIVERY)
        for ticket in kept:
            if rows[ticket].source is None:
                self._withheld.put(rows[ticket].again())
            else:
                self._withheld.ask_for(rows[ticket])
        return Settlements.concat(parts)

    def reject(self, received: Received, indices: Indices = None) -> Settlements:
        return self._settle(received, chosen(indices, len(received)), self._inner.reject)

    def extend(self, received: Received, lease_s: float, indices: Indices = None) -> Settlements:
        tickets = chosen(indices, len(received))
        return self._settle(received, tickets, lambda inner, at: self._inner.extend(inner, lease_s, at))

    def close(self) -> None:
        self._inner.close()

    def _shall_be_overtaken(self, row: Row) -> bool:
        strikes = self._injector.strikes(FaultName.REORDER_ACROSS_REDELIVERY, row.partition, row.place)
        return strikes and row.key is not None and row.source is not None

    def _settle(
        self, received: Received, tickets: IntColumn, decide: Callable[[Received, Indices], Settlements]
    ) -> Settlements:
        """The inner broker settles its own deliveries; all others are acknowledged."""
        found = Outcomes.of(received, tickets, Outcome.ACKNOWLEDGED)
        # Most rows come from one ``receive`` of the inner broker; late ones come from earlier calls.
        sources: dict[int, tuple[Received, list[int], list[int]]] = {}
        for at, ticket in enumerate(tickets.tolist()):
            source = received.handle[ticket].source
            if source is not None:
                _, ours, theirs = sources.setdefault(id(source[0]), (source[0], [], []))
                ours.append(at)
                theirs.append(source[1])
        for inner_received, ours, theirs in sources.values():
            inner = decide(inner_received, theirs)
            found.outcomes[ours] = inner.outcomes
            tickets_of = dict(zip(theirs, tickets[ours].tolist(), strict=True))
            found.errors |= {tickets_of[ticket]: reason for ticket, reason in inner.errors.items()}
        return found.settlements()


_AFTER_ACKNOWLEDGEMENT = (
    FaultName.DUPLICATE,
    FaultName.DUPLICATE_AFTER_LEASE,
    FaultName.LOSE_AND_DUPLICATE,
    FaultName.DEAD_LETTER_EXTRA,
)
_ENDLESS_S = 1e8
_SWAPS = {
    FaultName.REORDER_WITHIN_KEY: next_of_key,
    FaultName.REORDER_WITHIN_PARTITION: next_of_partition,
    FaultName.REORDER_ACROSS_PARTITIONS: next_elsewhere,
}


def _unanswered(received: Received, tickets: IntColumn) -> Settlements:
    found = Outcomes.of(received, tickets)
    found.tell(slice(None), Outcome.UNKNOWN, f"fault: {FaultName.LOSE_ACKNOWLEDGEMENT}")
    return found.settlements()


class FaultyReader:
    """Replays with gaps, in the wrong order, with altered payloads, or with a part repeated."""

    def __init__(self, inner: MemoryReader, injector: Injector, space: Space, channel: str) -> None:
        self._inner = inner
        self._injector = injector
        self._space = space
        self._channel = channel
        self._twice: list[Row] = []
        self._went_back = False

    def read(self, max_messages: int, wait_s: float) -> Received:
        give_up_ns = time.monotonic_ns() + int(wait_s * 1e9)
        if self._twice:
            rows, self._twice = self._twice[:max_messages], self._twice[max_messages:]
            return self._seen(rows)
        while True:
            fresh = rows_of(self._inner.read(max_messages, max(0.0, (give_up_ns - time.monotonic_ns()) / 1e9)))
            kept = Kept(self._injector, self._space, self._channel) if self._injector.changes_retention else None
            present = [row for row in fresh if self._is_present(row, kept)]
            rows = self._injector.swapped(FaultName.REPLAY_REORDER, present, next_of_key, first=False)
            if rows or not fresh:
                self._go_back(rows)
                return self._seen(rows)

    def _seen(self, rows: list[Row]) -> Received:
        return received_of(rows, [self._injector.read_again(self._channel, row) for row in rows])

    def _go_back(self, rows: list[Row]) -> None:
        """Repeat from the first row that is hit, once per reader."""
        name = FaultName.REPLAY_STALE_POSITION
        hit = [at for at, row in enumerate(rows) if self._injector.strikes(name, row.partition, row.place)]
        if hit and not self._went_back:
            self._went_back = True
            self._twice = rows[hit[0] :]
            for row in self._twice:
                self._injector.hit(name, row.partition, row.place, row.payload)

    def _is_present(self, row: Row, kept: Kept | None) -> bool:
        injector = self._injector
        gone = injector.is_lost(self._channel, row) or (kept is not None and not kept.gives(row))
        return not (gone or injector.is_skipped_in_replay(row))

    def close(self) -> None:
        self._inner.close()
