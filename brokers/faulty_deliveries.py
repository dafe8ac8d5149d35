"""The receiving side of a faulty broker: consumers and readers that hand out the wrong thing."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace

import numpy as np

from brokers.faulty_state import FaultName, Row, Stash, State, received_of, rows_of
from brokers.guard import chosen
from brokers.memory import MemoryConsumer, MemoryReader
from brokers.types import NO_PLACE, Indices, IntColumn, Outcome, Received, Settlements


class FaultyConsumer:
    """``Received.handle`` is the list of rows; those without a source are settled here, without effect."""

    def __init__(self, inner: MemoryConsumer, state: State, channel: str, stash: Stash) -> None:
        self._inner = inner
        self._state = state
        self._channel = channel
        self._stash = stash

    def receive(self, max_messages: int, wait_s: float) -> Received:
        give_up_ns = time.monotonic_ns() + int(wait_s * 1e9)
        while True:
            rows = self._stash.take(max_messages)
            left_s = 0.0 if rows else max(0.0, (give_up_ns - time.monotonic_ns()) / 1e9)
            if len(rows) < max_messages:
                # What is held back must not wait for the whole of ``wait_s`` where nothing can overtake it.
                patience_s = min(left_s, 0.05) if self._stash.size() else left_s
                fresh = rows_of(self._inner.receive(max_messages - len(rows), patience_s))
                rows += self._spoilt(fresh, max_messages - len(rows))
                if not fresh:
                    self._stash.give_up()
            if rows or (not self._stash.size() and time.monotonic_ns() >= give_up_ns):
                return received_of(rows, [self._state.altered(FaultName.CORRUPT, row) for row in rows])

    def _spoilt(self, fresh: list[Row], room: int) -> list[Row]:
        """At most ``room`` rows; what does not fit waits in the stash."""
        state = self._state
        present: list[Row] = []
        for row in fresh:
            if state.is_lost(row) or not state.is_kept(self._channel, row):
                self._finish(row)
            else:
                present.append(row)
        rows = state.swapped(FaultName.REORDER_WITHIN_KEY, present, among=lambda row: row.count == 1)
        for held in self._stash.overtake(present):
            state.hit(FaultName.REORDER_ACROSS_REDELIVERY, held.partition, held.place, held.payload)
            self._add(rows, held, room)
        for row in present:
            # In the same batch or not at all: later the message may be settled, and it would be a duplicate.
            early = row.count == 1 and state.strikes(FaultName.EARLY_REDELIVERY, row.partition, row.place)
            if early and len(rows) < room:
                state.hit(FaultName.EARLY_REDELIVERY, row.partition, row.place, row.payload)
                rows.append(row.again())
            if row.count == 1 and (payload := state.phantom_beside(row)) is not None:
                state.hit(FaultName.PHANTOM, row.partition, NO_PLACE, payload)
                self._add(rows, replace(row, payload=payload, place=NO_PLACE, source=None), room)
        return rows

    def _add(self, rows: list[Row], row: Row, room: int) -> None:
        if len(rows) < room:
            rows.append(row)
        else:
            self._stash.put(row)

    def _finish(self, row: Row) -> None:
        """Take a message from the inner broker for good."""
        if row.source is not None:
            received, at = row.source
            self._inner.acknowledge(received, [at])

    def acknowledge(self, received: Received, indices: Indices = None) -> Settlements:
        tickets = chosen(indices, len(received))
        settled = self._settle(received, tickets, self._inner.acknowledge)
        for ticket, outcome in zip(tickets.tolist(), settled.outcomes.tolist(), strict=True):
            row: Row = received.handle[ticket]
            strikes = row.source is not None and self._state.strikes(FaultName.DUPLICATE, row.partition, row.place)
            if strikes and outcome == Outcome.ACKNOWLEDGED:
                self._state.hit(FaultName.DUPLICATE, row.partition, row.place, row.payload)
                self._stash.put(row.again())
        return settled

    def release(self, received: Received, indices: Indices = None) -> Settlements:
        """What shall be overtaken is finished in the inner broker, so that its key is free, and held here."""
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
                self._stash.hold(rows[ticket].again())
        for ticket in kept:
            if rows[ticket].source is None:
                self._stash.put(rows[ticket].again())
        return Settlements.concat(parts)

    def reject(self, received: Received, indices: Indices = None) -> Settlements:
        return self._settle(received, chosen(indices, len(received)), self._inner.reject)

    def extend(self, received: Received, lease_s: float, indices: Indices = None) -> Settlements:
        def extend(inner: Received, at: Indices) -> Settlements:
            return self._inner.extend(inner, lease_s, at)

        return self._settle(received, chosen(indices, len(received)), extend)

    def close(self) -> None:
        self._inner.close()

    def _shall_be_overtaken(self, row: Row) -> bool:
        strikes = self._state.strikes(FaultName.REORDER_ACROSS_REDELIVERY, row.partition, row.place)
        return strikes and row.key is not None and row.source is not None

    def _settle(
        self, received: Received, tickets: IntColumn, decide: Callable[[Received, Indices], Settlements]
    ) -> Settlements:
        """The inner broker decides about what it delivered (one ``receive`` of it); the rest is fine as it is."""
        outcomes = np.full(len(tickets), Outcome.ACKNOWLEDGED, np.int8)
        errors: dict[int, str] = {}
        sources = [(at, received.handle[ticket].source) for at, ticket in enumerate(tickets.tolist())]
        known = [(at, source) for at, source in sources if source is not None]
        if known:
            inner = decide(known[0][1][0], [source[1] for _, source in known])
            rows = [at for at, _ in known]
            outcomes[rows] = inner.outcomes
            ours = {source[1]: int(tickets[at]) for at, source in known}
            errors = {ours[ticket]: reason for ticket, reason in inner.errors.items()}
        settled_ns = np.full(len(tickets), time.monotonic_ns(), np.int64)
        return Settlements(
            tickets, outcomes, settled_ns, received.partitions[tickets], received.places[tickets], errors
        )


class FaultyReader:
    """Replays with gaps, in the wrong order, or altered."""

    def __init__(self, inner: MemoryReader, state: State, channel: str) -> None:
        self._inner = inner
        self._state = state
        self._channel = channel

    def read(self, max_messages: int, wait_s: float) -> Received:
        give_up_ns = time.monotonic_ns() + int(wait_s * 1e9)
        while True:
            fresh = rows_of(self._inner.read(max_messages, max(0.0, (give_up_ns - time.monotonic_ns()) / 1e9)))
            present = [row for row in fresh if self._is_present(row)]
            rows = self._state.swapped(FaultName.REPLAY_REORDER, present, among=lambda _row: True)
            if rows or not fresh:
                return received_of(rows, [self._state.altered(FaultName.REPLAY_ALTERED, row) for row in rows])

    def _is_present(self, row: Row) -> bool:
        state = self._state
        return not state.is_lost(row) and state.is_kept(self._channel, row) and not state.is_skipped_in_replay(row)

    def close(self) -> None:
        self._inner.close()
