"""Acknowledgements of a share consumer that are on their way: which answer is about which delivery.

The client tells sets of offsets, one a partition, as the broker answers; a delivery has its answer when all of it has.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Mapping, Set
from dataclasses import dataclass

import numpy as np
from confluent_kafka import KafkaException, TopicPartition

from brokers.kafka_client import fate, kafka_error, reason
from brokers.kafka_settling import Fates, by_partition
from brokers.types import IntColumn, Outcome, Settlements

_Offsets = Mapping[TopicPartition, Set[int]]


@dataclass(slots=True)
class _Delivery:
    """``missing``: {partition: those of its rows whose answer is still to come}; ``heard_ns``: when the last came."""

    fates: Fates
    missing: dict[int, IntColumn]
    heard_ns: int


class Commits:
    """Fates of deliveries, oldest first."""

    def __init__(self) -> None:
        self._waiting: deque[_Delivery] = deque()
        # Answers as they came (monotonic_ns): one may come before its delivery is added.
        self._heard: list[tuple[int, _Offsets, KafkaException | None]] = []

    @property
    def open(self) -> bool:
        """Is an answer still to come?"""
        self._sort()
        return any(delivery.missing for delivery in self._waiting)

    def add(self, fates: Fates, known: IntColumn) -> None:
        """Answers will come for all of its rows but the ``known``."""
        missing = dict(by_partition(fates.partitions))
        if len(known):
            missing = {partition: np.setdiff1d(rows, known) for partition, rows in missing.items()}
            missing = {partition: rows for partition, rows in missing.items() if len(rows)}
        self._waiting.append(_Delivery(fates, missing, time.monotonic_ns()))

    def answered(self, offsets: _Offsets, failure: KafkaException | None) -> None:
        """The client's callback."""
        self._heard.append((time.monotonic_ns(), offsets, failure))

    def _sort(self) -> None:
        heard, self._heard = self._heard, []
        for heard_ns, offsets, failure in heard:
            outcome, why = _fate(failure)
            for place, told in offsets.items():
                self._tell(place.partition, told, outcome, why, heard_ns)

    def _tell(self, partition: int, told: Set[int], outcome: Outcome, why: str, heard_ns: int) -> None:
        for delivery in self._waiting:
            rows = delivery.missing.pop(partition, None)
            if rows is None:
                continue
            delivery.heard_ns = heard_ns
            places = delivery.fates.places[rows]
            if _are(places, told):
                delivery.fates.tell(rows, outcome, why)
                return
            inside = np.isin(places, np.fromiter(told, np.int64, len(told)))
            delivery.fates.tell(rows[inside], outcome, why)
            if not inside.all():
                delivery.missing[partition] = rows[~inside]
            told = told - set(places[inside].tolist())
            if not told:
                return

    def give_up(self) -> None:
        """What is not answered yet stays UNKNOWN, whatever comes later."""
        self._sort()
        now_ns = time.monotonic_ns()
        for delivery in self._waiting:
            if delivery.missing:
                delivery.missing.clear()
                delivery.heard_ns = now_ns

    def take(self) -> list[Settlements]:
        """Of the oldest deliveries, as far as all of their answers have come."""
        self._sort()
        done = []
        while self._waiting and not self._waiting[0].missing:
            delivery = self._waiting.popleft()
            done.append(delivery.fates.settlements(delivery.heard_ns))
        return done


def _fate(failure: KafkaException | None) -> tuple[Outcome, str]:
    if failure is None:
        return Outcome.ACKNOWLEDGED, ""
    error = kafka_error(failure)
    return (Outcome.UNKNOWN, str(failure)) if error is None else (fate(error), reason(error))


def _are(places: IntColumn, told: Set[int]) -> bool:
    """Are these exactly those? Offsets ascend in a delivery and mostly have no gaps: then their ends and number tell.

    0.03 us a message, where looking up each takes 0.2.
    """
    first, last, count = int(places[0]), int(places[-1]), len(places)
    return last - first + 1 == count == len(told) and min(told) == first and max(told) == last
