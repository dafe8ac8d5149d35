"""Reports name their messages in whatever order they come, and refusals are reports, too."""

from __future__ import annotations

import numpy as np
from confluent_kafka import KafkaError

from brokerbench.brokers.kafka.client_protocols import MESSAGE, Messages
from brokerbench.brokers.kafka.producer import DeliveryReports
from brokerbench.brokers.types import NO_PARTITION, NO_PLACE, Outcome


def messages(*tickets: int, error: int = 0) -> Messages:
    """Reports about these: each has a place of its own, on one of three partitions."""
    found = np.zeros(len(tickets), MESSAGE)
    found["number"] = tickets
    found["partition"] = found["number"] % 3
    found["offset"] = found["number"] + 100
    found["error"] = error
    return found


def test_reports_that_came_apart_are_taken_together_and_once() -> None:
    reports = DeliveryReports()
    reports.reported(messages(4, 0, 2))
    reports.reported(messages(1))
    taken = reports.take()
    assert taken.tickets.tolist() == [4, 0, 2, 1]
    assert taken.places.tolist() == [104, 100, 102, 101]
    assert taken.partitions.tolist() == [1, 0, 2, 1]
    assert set(taken.outcomes.tolist()) == {Outcome.ACKNOWLEDGED}
    assert len(set(taken.settled_ns[:3].tolist())) == 1
    assert taken.settled_ns[3] > taken.settled_ns[0]
    assert len(reports.take()) == 0
    reports.reported(messages(3))
    assert (taken.tickets.tolist(), reports.take().tickets.tolist()) == ([4, 0, 2, 1], [3])


def test_a_failed_send_has_no_place_but_a_reason() -> None:
    reports = DeliveryReports()
    reports.reported(messages(0))
    reports.reported(messages(7, error=KafkaError.MSG_SIZE_TOO_LARGE))
    reports.reported(messages(8, error=KafkaError._MSG_TIMED_OUT))
    taken = reports.take()
    assert taken.outcomes.tolist() == [Outcome.ACKNOWLEDGED, Outcome.REJECTED, Outcome.UNKNOWN]
    assert taken.places.tolist() == [100, NO_PLACE, NO_PLACE]
    assert taken.partitions.tolist() == [0, NO_PARTITION, NO_PARTITION]
    assert set(taken.errors) == {7, 8}
    assert "MSG_SIZE_TOO_LARGE" in taken.errors[7]


def test_a_retry_that_the_broker_had_stored_already_is_acknowledged_without_a_place() -> None:
    reports = DeliveryReports()
    again = messages(5)
    again["offset"] = -1001
    reports.reported(again)
    taken = reports.take()
    assert (taken.outcomes.tolist(), taken.places.tolist()) == ([Outcome.ACKNOWLEDGED], [NO_PLACE])


def test_a_refusal_is_a_report_too() -> None:
    reports = DeliveryReports()
    reports.refused([(7, KafkaError.MSG_SIZE_TOO_LARGE), (20, KafkaError._QUEUE_FULL)])
    reports.reported(messages(8))
    settled = reports.take()
    assert sorted(settled.tickets.tolist()) == [7, 8, 20]
    outcomes = dict(zip(settled.tickets.tolist(), settled.outcomes.tolist(), strict=True))
    assert outcomes == {7: Outcome.REJECTED, 8: Outcome.ACKNOWLEDGED, 20: Outcome.REJECTED}
    assert "MSG_SIZE_TOO_LARGE" in settled.errors[7]


def test_reasons_are_told_for_the_first_hundred_only() -> None:
    reports = DeliveryReports()
    reports.reported(messages(*range(70), error=KafkaError._MSG_TIMED_OUT))
    reports.refused([(ticket, KafkaError.MSG_SIZE_TOO_LARGE) for ticket in range(70, 300)])
    taken = reports.take()
    assert (len(taken), len(taken.errors)) == (300, 100)
