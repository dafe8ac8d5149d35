"""Delivery reports of one producer, as columns of fates.

A report knows its message by its callback, so each message in flight has one of its own: counting reports per
partition would be cheaper, and wrong, as failures are not reported in the order of sending. Callbacks made for
every message would be 0.5 us a message: they are made once, in bundles that are used again.
"""

from __future__ import annotations

import struct
import time
from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
from confluent_kafka import KafkaError, Message

from brokers.kafka_client import fate, reason
from brokers.types import NO_PARTITION, NO_PLACE, Outcome, Settlements, constant

_MAX_ERRORS = 100

Callback = Callable[[KafkaError | None, Message | None], None]


class _Bundle:
    """Callbacks of messages that were sent together. ``unreported``: of how many the fate is open."""

    __slots__ = ("callbacks", "first_ticket", "unreported")

    def __init__(self) -> None:
        self.callbacks: list[Callback] = []
        self.first_ticket = self.unreported = 0


class Reports:
    """Fates of sends until somebody takes them."""

    def __init__(self) -> None:
        # What was acknowledged: ticket, settled_ns, partition, place; ticket, ... One list that is extended costs half
        # of four arrays that are appended to.
        self._acknowledged: list[int] = []
        # (ticket, settled_ns, outcome)
        self._refusals: list[tuple[int, int, int]] = []
        self._errors: dict[int, str] = {}
        self._idle: list[_Bundle] = []

    def callbacks(self, first_ticket: int, count: int) -> Sequence[Callback]:
        """For the messages with these tickets. Each must be called once, by the client or by whoever sees a refusal."""
        bundle = self._idle.pop() if self._idle else _Bundle()
        if len(bundle.callbacks) < count:
            reported = self._reported(bundle)
            bundle.callbacks += [partial(reported, index) for index in range(len(bundle.callbacks), count)]
        bundle.first_ticket, bundle.unreported = first_ticket, count
        return bundle.callbacks[:count]

    def _reported(self, bundle: _Bundle) -> Callable[[int, KafkaError | None, Message], None]:
        acknowledged, now_ns = self._acknowledged.extend, time.monotonic_ns

        def reported(index: int, error: KafkaError | None, message: Message) -> None:
            if error is None:
                acknowledged((bundle.first_ticket + index, now_ns(), message.partition(), message.offset()))  # type: ignore[arg-type]
            else:
                self.refused(bundle.first_ticket + index, error)
            bundle.unreported -= 1
            if not bundle.unreported:
                self._idle.append(bundle)

        return reported

    def refused(self, ticket: int, error: KafkaError) -> None:
        self._refusals.append((ticket, time.monotonic_ns(), int(fate(error))))
        if len(self._errors) < _MAX_ERRORS:
            self._errors[ticket] = reason(error)

    def take(self) -> Settlements:
        """All that came since the last time."""
        if not self._acknowledged and not self._refusals:
            return Settlements.empty()
        # ``np.array`` takes half as long again for a list of integers.
        rows = np.frombuffer(struct.pack(f"{len(self._acknowledged)}q", *self._acknowledged), np.int64).reshape(-1, 4)
        # In place: the callbacks know this list.
        self._acknowledged.clear()
        tickets, settled_ns, partitions, places = np.ascontiguousarray(rows.T)
        outcomes = constant(Outcome.ACKNOWLEDGED, len(tickets), np.int8)
        acknowledged = Settlements(tickets, outcomes, settled_ns, partitions.astype(np.int32), places)
        if not self._refusals:
            return acknowledged
        (refused, refused_ns, fates), self._refusals = np.array(self._refusals, np.int64).T, []
        errors, self._errors = self._errors, {}
        count = len(refused)
        nowhere = constant(NO_PARTITION, count, np.int32), constant(NO_PLACE, count, np.int64)
        return Settlements.concat(
            [acknowledged, Settlements(refused, fates.astype(np.int8), refused_ns, *nowhere, errors)]
        )
