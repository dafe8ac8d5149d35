"""Answers of the broker find the deliveries that they are about, whole, in parts, early or late."""

from __future__ import annotations

import time

import numpy as np
from confluent_kafka import KafkaError

from brokerbench.brokers.kafka.share_acknowledgements import PendingAcknowledgements
from brokerbench.brokers.settling import Outcomes
from brokerbench.brokers.types import NO_TIME, Outcome, Received, constant

NONE = np.empty(0, np.int64)
ACKNOWLEDGED, REJECTED, UNKNOWN = Outcome.ACKNOWLEDGED, Outcome.REJECTED, Outcome.UNKNOWN


def delivery(*places: tuple[int, int]) -> Outcomes:
    """Of (partition, offset)."""
    count = len(places)
    partitions, offsets = np.array(places).T
    received = Received(
        (),
        (),
        partitions.astype(np.int32),
        offsets.astype(np.int64),
        0,
        constant(NO_TIME, count, np.int64),
        constant(1, count, np.int32),
    )
    return Outcomes.of(received, None)


def tell(commits: PendingAcknowledgements, partition: int, *offsets: int, code: int | None = None) -> None:
    commits.answered(partition, np.array(offsets), None if code is None else KafkaError(code))


def test_a_delivery_has_its_answer_when_all_of_its_partitions_have() -> None:
    commits = PendingAcknowledgements()
    commits.add(delivery((0, 5), (0, 6), (1, 9)), NONE)
    assert commits.open
    tell(commits, 0, 5, 6)
    assert commits.take() == []
    before_ns = time.monotonic_ns()
    tell(commits, 1, 9)
    heard_ns = time.monotonic_ns()
    time.sleep(0.002)
    (settled,) = commits.take()
    assert settled.tickets.tolist() == [0, 1, 2]
    assert settled.outcomes.tolist() == [ACKNOWLEDGED] * 3
    assert before_ns <= settled.settled_ns[0] <= heard_ns, "the time is that of the answer, not of asking for it"
    assert not commits.open
    assert commits.take() == []


def test_an_answer_may_come_before_its_delivery_is_known() -> None:
    commits = PendingAcknowledgements()
    tell(commits, 0, 5)
    commits.add(delivery((0, 5)), NONE)
    assert [settled.outcomes.tolist() for settled in commits.take()] == [[ACKNOWLEDGED]]


def test_answers_are_told_in_the_order_of_the_deliveries() -> None:
    commits = PendingAcknowledgements()
    commits.add(delivery((0, 5)), NONE)
    commits.add(delivery((1, 5)), NONE)
    tell(commits, 1, 5)
    assert commits.take() == []
    tell(commits, 0, 5, code=KafkaError.INVALID_RECORD_STATE)
    first, second = commits.take()
    assert (first.outcomes.tolist(), second.outcomes.tolist()) == ([REJECTED], [ACKNOWLEDGED])
    assert "INVALID_RECORD_STATE" in first.errors[0]


def test_one_answer_may_be_about_several_deliveries_and_about_parts_of_them() -> None:
    commits = PendingAcknowledgements()
    commits.add(delivery((0, 5), (0, 6), (0, 8)), NONE)
    commits.add(delivery((0, 9), (0, 10)), NONE)
    tell(commits, 0, 6, 8, 9)
    assert commits.take() == []
    tell(commits, 0, 5, 10, code=KafkaError._TIMED_OUT)
    first, second = commits.take()
    assert first.outcomes.tolist() == [UNKNOWN, ACKNOWLEDGED, ACKNOWLEDGED]
    assert second.outcomes.tolist() == [ACKNOWLEDGED, UNKNOWN]


def test_as_many_offsets_within_the_same_ends_are_not_the_same() -> None:
    commits = PendingAcknowledgements()
    commits.add(delivery((0, 5), (0, 7), (0, 8)), NONE)
    tell(commits, 0, 5, 6, 8)
    assert commits.open
    tell(commits, 0, 7, code=KafkaError.INVALID_RECORD_STATE)
    (settled,) = commits.take()
    assert settled.outcomes.tolist() == [ACKNOWLEDGED, REJECTED, ACKNOWLEDGED]


def test_nothing_is_awaited_for_what_the_client_refused() -> None:
    commits = PendingAcknowledgements()
    fates = delivery((0, 5), (0, 6), (1, 7))
    gone = np.array([1, 2])
    fates.tell(gone, REJECTED, "gone")
    commits.add(fates, gone)
    tell(commits, 0, 5)
    (settled,) = commits.take()
    assert settled.outcomes.tolist() == [ACKNOWLEDGED, REJECTED, REJECTED]


def test_what_nobody_answers_is_unknown_and_stays_so() -> None:
    commits = PendingAcknowledgements()
    commits.add(delivery((0, 5), (1, 6)), NONE)
    tell(commits, 1, 6)
    (settled,) = commits.take(unanswered=True)
    assert settled.outcomes.tolist() == [UNKNOWN, ACKNOWLEDGED]
    assert not commits.open
    # Its late answer is not taken for that of what came again.
    commits.add(delivery((0, 5)), NONE)
    tell(commits, 0, 5, code=KafkaError.INVALID_RECORD_STATE)
    assert commits.take() == []
    assert settled.outcomes.tolist() == [UNKNOWN, ACKNOWLEDGED]
    tell(commits, 0, 5)
    assert [settled.outcomes.tolist() for settled in commits.take()] == [[ACKNOWLEDGED]]


def test_an_answer_that_nobody_wants_is_not_taken_for_that_of_a_later_delivery() -> None:
    commits = PendingAcknowledgements()
    forgotten = delivery((0, 5), (0, 6))
    commits.add(forgotten, NONE, wanted=False)
    commits.add(delivery((0, 5), (0, 6)), NONE)
    tell(commits, 0, 5, 6, code=KafkaError.INVALID_RECORD_STATE)
    assert commits.take() == []
    assert forgotten.outcomes.tolist() == [UNKNOWN, UNKNOWN], "the caller's, who has its answer from elsewhere"
    tell(commits, 0, 5, 6)
    assert [settled.outcomes.tolist() for settled in commits.take()] == [[ACKNOWLEDGED] * 2]
