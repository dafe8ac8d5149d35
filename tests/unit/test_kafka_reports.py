"""Each report finds its message, in whatever order they come, and callbacks are used again only when all have come."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from confluent_kafka import KafkaError

from brokers.kafka_reports import Reports
from brokers.types import NO_PLACE, Outcome


@dataclass(frozen=True)
class _Message:
    at: int

    def partition(self) -> int:
        return self.at % 3

    def offset(self) -> int:
        return 100 + self.at


def message(at: int) -> Any:
    return _Message(at)


def test_reports_in_any_order_name_their_message() -> None:
    reports = Reports()
    first, second = reports.callbacks(0, 3), reports.callbacks(3, 2)
    for at in (4, 0, 2):
        (first[at] if at < 3 else second[at - 3])(None, message(at))
    early = reports.take()
    first[1](None, message(1))
    second[0](None, message(3))
    late = reports.take()
    assert (early.tickets.tolist(), late.tickets.tolist()) == ([4, 0, 2], [1, 3])
    for part in (early, late):
        assert part.places.tolist() == [100 + ticket for ticket in part.tickets.tolist()]
        assert part.partitions.tolist() == [ticket % 3 for ticket in part.tickets.tolist()]
        assert set(part.outcomes.tolist()) == {Outcome.ACKNOWLEDGED}
    assert len(reports.take()) == 0


def test_callbacks_wait_for_the_last_report_before_they_are_used_again() -> None:
    reports = Reports()
    first = reports.callbacks(0, 2)
    first[1](None, message(1))
    other = reports.callbacks(2, 2)
    assert not set(map(id, first)) & set(map(id, other))
    first[0](None, message(0))
    again = reports.callbacks(4, 3)
    assert list(again[:2]) == list(first)
    for index, callback in enumerate(again):
        callback(None, message(4 + index))
    for index, callback in enumerate(other):
        callback(None, message(2 + index))
    assert reports.take().tickets.tolist() == [1, 0, 4, 5, 6, 2, 3]


def test_a_refusal_is_a_report_too() -> None:
    reports = Reports()
    callbacks = reports.callbacks(7, 2)
    callbacks[0](KafkaError(KafkaError.MSG_SIZE_TOO_LARGE), None)
    callbacks[1](KafkaError(KafkaError._TIMED_OUT), None)
    reports.refused(20, KafkaError(KafkaError._QUEUE_FULL))
    settled = reports.take()
    assert settled.tickets.tolist() == [7, 8, 20]
    assert settled.outcomes.tolist() == [Outcome.REJECTED, Outcome.UNKNOWN, Outcome.REJECTED]
    assert settled.places.tolist() == [NO_PLACE] * 3
    assert "MSG_SIZE_TOO_LARGE" in settled.errors[7]
    assert list(reports.callbacks(30, 2)) == list(callbacks)
