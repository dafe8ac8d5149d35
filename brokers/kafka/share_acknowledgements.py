"""Acknowledgements of a share consumer that the broker has not answered yet, matched with the answers.

An answer names offsets of one partition; a delivery is answered when all of its offsets are.
"""

from __future__ import annotations

import time
from collections import deque
from dataclasses import dataclass

import numpy as np
from confluent_kafka import KafkaError

from brokerbench.brokers.kafka.client import answer_of
from brokerbench.brokers.settling import Outcomes, by_partition
from brokerbench.brokers.types import IntColumn, Outcome, Settlements


@dataclass(slots=True)
class _Delivery:
    """``missing``: {partition: its rows without an answer}; ``heard_ns``: time of the last answer; ``wanted``: whether
    ``take`` is still to return it."""

    outcomes: Outcomes
    missing: dict[int, IntColumn]
    heard_ns: int
    wanted: bool


class PendingAcknowledgements:
    """Outcomes of deliveries, oldest first."""

    def __init__(self) -> None:
        # Deliveries without their answers, and deliveries to be returned. A message that is delivered again keeps its
        # offset, so that only the order tells which delivery an answer is about: unwanted answers count, too.
        self._asked: list[_Delivery] = []
        self._waiting: deque[_Delivery] = deque()
        # Answers in their order, with monotonic_ns: one may come before its delivery is added.
        self._heard: list[tuple[int, int, IntColumn, KafkaError | None]] = []

    @property
    def open(self) -> bool:
        """Whether an answer is still to come."""
        self._sort()
        return any(delivery.missing for delivery in self._waiting)

    def add(self, outcomes: Outcomes, known: IntColumn, *, wanted: bool = True) -> None:
        """Expect answers for all rows but the ``known``. If not ``wanted``, ``outcomes`` stays as it is."""
        missing = dict(by_partition(outcomes.partitions))
        if len(known):
            missing = {partition: np.setdiff1d(rows, known) for partition, rows in missing.items()}
            missing = {partition: rows for partition, rows in missing.items() if len(rows)}
        delivery = _Delivery(outcomes, missing, time.monotonic_ns(), wanted)
        self._asked.append(delivery)
        if wanted:
            self._waiting.append(delivery)
        self._sort()  # as the caller may never ask

    def answered(self, partition: int, offsets: IntColumn, refusal: KafkaError | None) -> None:
        """See ``client_protocols.OnAcknowledged``."""
        self._heard.append((time.monotonic_ns(), partition, offsets, refusal))

    def _sort(self) -> None:
        heard, self._heard = self._heard, []
        for heard_ns, partition, offsets, refusal in heard:
            self._tell(partition, offsets, *answer_of(refusal), heard_ns)
        self._asked = [delivery for delivery in self._asked if delivery.missing]

    def _tell(self, partition: int, told: IntColumn, outcome: Outcome, why: str, heard_ns: int) -> None:
        for delivery in self._asked:
            rows = delivery.missing.pop(partition, None)
            if rows is None:
                continue
            delivery.heard_ns = heard_ns
            places = delivery.outcomes.places[rows]
            # The usual case, in a tenth of the time of a lookup.
            whole = np.array_equal(places, told)
            inside = np.full(len(rows), True) if whole else np.isin(places, told)
            if delivery.wanted:
                delivery.outcomes.tell(rows[inside], outcome, why)
            if whole:
                return
            if not inside.all():
                delivery.missing[partition] = rows[~inside]
            told = np.setdiff1d(told, places[inside])
            if not len(told):
                return

    def take(self, *, unanswered: bool = False) -> list[Settlements]:
        """The oldest deliveries, up to the first that misses an answer.

        ``unanswered``: all deliveries; rows without an answer are UNKNOWN, and stay so whatever comes later.
        """
        self._sort()
        done = []
        while self._waiting and (unanswered or not self._waiting[0].missing):
            delivery = self._waiting.popleft()
            delivery.wanted = False
            done.append(delivery.outcomes.settlements(None if delivery.missing else delivery.heard_ns))
        return done
