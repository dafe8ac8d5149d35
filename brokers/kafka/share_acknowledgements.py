"""Acknowledgements of a share consumer that are on their way: which answer is about which delivery.

The client tells offsets, a partition at a time, as the broker answers; a delivery has its answer when all of it has.
"""

from __future__ import annotations

import time
from collections import deque
from dataclasses import dataclass

import numpy as np
from confluent_kafka import KafkaError

from brokerbench.brokers.kafka.client import outcome_of, reason
from brokerbench.brokers.settling import Outcomes, by_partition
from brokerbench.brokers.types import IntColumn, Outcome, Settlements


@dataclass(slots=True)
class _Delivery:
    """``missing``: {partition: those of its rows whose answer is still to come}; ``heard_ns``: when the last came;
    ``wanted``: is somebody still to be told?"""

    fates: Outcomes
    missing: dict[int, IntColumn]
    heard_ns: int
    wanted: bool


class PendingAcknowledgements:
    """Fates of deliveries, oldest first."""

    def __init__(self) -> None:
        # Whose answers are to come, and whose are to be told. What comes again has the offsets that it had, and only
        # the order says which answer is whose: so an answer that nobody wants must be expected, too.
        self._asked: list[_Delivery] = []
        self._waiting: deque[_Delivery] = deque()
        # Answers as they came (monotonic_ns): one may come before its delivery is added.
        self._heard: list[tuple[int, int, IntColumn, KafkaError | None]] = []

    @property
    def open(self) -> bool:
        """Is an answer still to come?"""
        self._sort()
        return any(delivery.missing for delivery in self._waiting)

    def add(self, fates: Outcomes, known: IntColumn, *, wanted: bool = True) -> None:
        """Answers will come for all of its rows but the ``known``. If not ``wanted``, ``fates`` learns nothing."""
        missing = dict(by_partition(fates.partitions))
        if len(known):
            missing = {partition: np.setdiff1d(rows, known) for partition, rows in missing.items()}
            missing = {partition: rows for partition, rows in missing.items() if len(rows)}
        delivery = _Delivery(fates, missing, time.monotonic_ns(), wanted)
        self._asked.append(delivery)
        if wanted:
            self._waiting.append(delivery)
        self._sort()  # nobody may ever ask

    def answered(self, partition: int, offsets: IntColumn, refusal: KafkaError | None) -> None:
        """See ``librdkafka_share.Answered``."""
        self._heard.append((time.monotonic_ns(), partition, offsets, refusal))

    def _sort(self) -> None:
        heard, self._heard = self._heard, []
        for heard_ns, partition, offsets, refusal in heard:
            outcome, why = (Outcome.ACKNOWLEDGED, "") if refusal is None else (outcome_of(refusal), reason(refusal))
            self._tell(partition, offsets, outcome, why, heard_ns)
        self._asked = [delivery for delivery in self._asked if delivery.missing]

    def _tell(self, partition: int, told: IntColumn, outcome: Outcome, why: str, heard_ns: int) -> None:
        for delivery in self._asked:
            rows = delivery.missing.pop(partition, None)
            if rows is None:
                continue
            delivery.heard_ns = heard_ns
            places = delivery.fates.places[rows]
            # Mostly: a tenth of what looking up each takes.
            whole = np.array_equal(places, told)
            inside = np.full(len(rows), True) if whole else np.isin(places, told)
            if delivery.wanted:
                delivery.fates.tell(rows[inside], outcome, why)
            if whole:
                return
            if not inside.all():
                delivery.missing[partition] = rows[~inside]
            told = np.setdiff1d(told, places[inside])
            if not len(told):
                return

    def take(self, *, unanswered: bool = False) -> list[Settlements]:
        """Of the oldest deliveries, as far as all of their answers have come.

        ``unanswered``: of all; what has no answer is UNKNOWN, and stays so whatever comes later.
        """
        self._sort()
        done = []
        while self._waiting and (unanswered or not self._waiting[0].missing):
            delivery = self._waiting.popleft()
            delivery.wanted = False
            done.append(delivery.fates.settlements(None if delivery.missing else delivery.heard_ns))
        return done
