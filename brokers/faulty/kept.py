"""The messages that a faulty broker keeps, shows in its bounds, and gives to readers: by age and by size.

The inner broker keeps more than it should where a fault needs that; what lies beyond the limits is hidden here.
"""

from __future__ import annotations

from dataclasses import dataclass

from brokerbench.brokers.faulty.faults import FaultName
from brokerbench.brokers.faulty.injector import EARLY, Injector
from brokerbench.brokers.faulty.withheld import Row
from brokerbench.brokers.memory.broker import Space
from brokerbench.brokers.types import Retention


@dataclass(frozen=True, slots=True)
class _Span:
    """Places of a partition: the first in the inner broker, the first within the limit of size, behind the last."""

    begin: int
    first: int
    end: int


class Kept:
    """What a channel keeps at this moment, for one call of its users."""

    def __init__(self, injector: Injector, space: Space, channel: str) -> None:
        self._injector, self._channel = injector, channel
        self._limit = injector.retention(channel) or Retention()
        self._spans: dict[int, _Span] = {}
        if injector.has(FaultName.NEWEST_REMOVED) and _by_size(self._limit):
            self._spans = _spans(space, channel, self._limit)

    def shows(self, row: Row) -> bool:
        """Whether the channel's bounds hold this message, which the inner broker has."""
        if self._injector.has(FaultName.READABLE_LATE) and self._age(row) > 1.0:
            return False
        span = self._spans.get(row.partition)
        return (span is None or row.place >= span.first) and self._injector.is_kept(self._channel, row)

    def gives(self, row: Row) -> bool:
        """Whether a reader gets this message, which the inner broker has."""
        injector = self._injector
        age = self._age(row)
        if injector.has(FaultName.READABLE_LATE) and age > 1.0:
            return injector.happens(FaultName.READABLE_LATE, row)
        if EARLY < age <= 1.0 and injector.happens(FaultName.UNREADABLE_EARLY, row):
            return False
        return self._is_of_the_newest(row) and injector.is_kept(self._channel, row)

    def _is_of_the_newest(self, row: Row) -> bool:
        """As the fault has it: the n-th oldest takes the place of the n-th one of those that should be kept."""
        span = self._spans.get(row.partition)
        if span is None:
            return True
        removed = row.place < span.first
        victim = row.place - span.begin + span.first if removed else row.place
        exchanged = victim < span.end and victim - span.first < span.first - span.begin
        struck = exchanged and self._injector.strikes(FaultName.NEWEST_REMOVED, row.partition, victim)
        if struck:
            self._injector.hit(FaultName.NEWEST_REMOVED, row.partition, row.place, row.payload)
        return struck is removed

    def _age(self, row: Row) -> float:
        """As a share of the age limit; 0 where there is none."""
        limit_s = self._limit.max_age_s
        return 0.0 if limit_s is None else (self._injector.now_ns() - row.epoch_ns) / (limit_s * 1e9)


def _by_size(limit: Retention) -> bool:
    return limit.max_messages is not None or limit.max_bytes is not None


def _spans(space: Space, channel: str, limit: Retention) -> dict[int, _Span]:
    """By partition."""
    with space.changed:
        log = space.log(channel)
        count = len(log.payloads)
        if limit.max_messages is not None:
            count = min(count, limit.max_messages)
        if limit.max_bytes is not None:
            size, within = 0, 0
            while within < count and size + len(log.payloads[-1 - within]) <= limit.max_bytes:
                size += len(log.payloads[-1 - within])
                within += 1
            count = within
        ends = dict(enumerate(log.ends))
        begins, firsts = (
            # Backwards, so that the first place of each partition is the one that stays.
            ends | dict(zip(reversed(log.partitions[at:]), reversed(log.places[at:]), strict=True))
            for at in (0, len(log.payloads) - count)
        )
        return {partition: _Span(begins[partition], firsts[partition], end) for partition, end in ends.items()}
