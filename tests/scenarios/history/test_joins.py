"""Joins of a history's tables against dictionaries."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from brokerbench.scenarios.history import Columns, message_ids
from tests.scenarios.checkers.histories import table

MOST = 1 << 40


def sends(*messages: tuple[int, int]) -> Columns:
    return table("sends", [{"producer": producer, "seq": seq} for producer, seq in messages])


def pairs(*messages: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    return np.array([one for one, _ in messages], np.int32), np.array([seq for _, seq in messages], np.int64)


def test_ids_count_over_the_producers_that_are_meant() -> None:
    """Producers 1 and 3 of a history in which 0 and 2 sent too; rows in any order."""
    sent = sends((3, 1), (1, 0), (0, 0), (3, 0), (1, 1), (2, 0), (1, 2))
    numbers = message_ids.of(sent, [3, 1], gaps=False)
    assert numbers.rows.tolist() == [1, 4, 6, 3, 0]
    asked = pairs((1, 0), (1, 2), (3, 0), (3, 1), (0, 0), (2, 0), (1, 3), (3, 2), (1, -1), (-1, 0), (4, 0), (99, 0))
    assert numbers.ids(*asked).tolist() == [0, 2, 3, 4, -1, -1, -1, -1, -1, -1, -1, -1]
    inside = pairs((1, 0), (3, 1), (3, 2), (0, 0))
    assert numbers.ids(*inside).tolist() == [0, 4, -1, -1]
    assert numbers.ids(*pairs()).tolist() == []
    assert numbers.ids(*pairs((4, 0))).tolist() == [-1]
    assert numbers.ids(*pairs((5, 0))).tolist() == [-1]
    assert numbers.ids(*pairs((-1, 0), (3, 1))).tolist() == [-1, 4]


@pytest.mark.parametrize(
    "messages",
    [[(0, 1)], [(0, 0), (0, 2)], [(0, 0), (0, 0)], [(0, 0), (0, 1), (0, 1)], [(0, -1), (0, 0)], [(0, 0), (1, 1)]],
)
def test_numbers_with_gaps_or_repeats_are_refused(messages: list[tuple[int, int]]) -> None:
    with pytest.raises(ValueError, match=r"^the sends of a history are not numbered from 0 without gaps$"):
        message_ids.of(sends(*messages), [0, 1], gaps=False)


def test_nothing_sent() -> None:
    for gaps in (True, False):
        for producers in ([], [0], [5]):
            numbers = message_ids.of(sends(), producers, gaps=gaps)
            assert numbers.rows.tolist() == []
            assert numbers.ids(*pairs((0, 0), (5, 0), (6, 0), (-1, 0))).tolist() == [-1] * 4
    apart = message_ids.of(sends((0, 0), (1, 0)), [7], gaps=False)
    assert apart.rows.tolist() == []
    assert apart.ids(*pairs((0, 0), (7, 0))).tolist() == [-1, -1]


def test_with_gaps_ids_go_by_producer_and_seq() -> None:
    sent = sends((3, 9), (1, 5), (0, 0), (3, 2), (1, MOST - 1), (2, 0))
    numbers = message_ids.of(sent, [3, 1], gaps=True)
    assert numbers.rows.tolist() == [1, 4, 3, 0]
    asked = pairs((1, 5), (1, MOST - 1), (3, 2), (3, 9), (1, 4), (0, 0), (2, 0), (1, -1), (3, 10), (-1, 5), (4, 0))
    assert numbers.ids(*asked).tolist() == [0, 1, 2, 3, -1, -1, -1, -1, -1, -1, -1]
    # A number that does not fit would be taken for one of the next producer's.
    assert numbers.ids(*pairs((2, MOST + 2), (0, MOST + 5), (0, MOST), (1, MOST))).tolist() == [-1] * 4
    zero = message_ids.of(sends((0, 0)), [0], gaps=True)
    assert zero.ids(*pairs((0, 0), (-1, MOST), (0, MOST))).tolist() == [0, -1, -1]
    assert message_ids.of(sends((1, 0)), [1], gaps=True).ids(*pairs((1, 0), (0, MOST))).tolist() == [0, -1]
    sorted_already = message_ids.of(sends((0, 1), (0, 3), (1, 0)), [0, 1], gaps=True)
    assert sorted_already.rows.tolist() == [0, 1, 2]


def test_found() -> None:
    codes = np.array([2, 4, 4, 9], np.int64)
    assert message_ids.found(codes, np.array([2, 4, 9, 1, 3, 10], np.int64)).tolist() == [0, 1, 3, -1, -1, -1]
    assert message_ids.found(codes, codes).tolist() == [0, 1, 1, 3]
    assert message_ids.found(codes[:0], np.array([2, 4], np.int64)).tolist() == [-1, -1]
    assert message_ids.found(codes[:1], np.array([1, 2, 3], np.int64)).tolist() == [-1, 0, -1]


def deliveries(*rows: tuple[int, int, int]) -> Columns:
    return table("deliveries", [{"reader": reader, "batch": batch, "slot": slot} for reader, batch, slot in rows])


def acknowledgements(*rows: tuple[int, int, int]) -> Columns:
    return table("acknowledgements", [{"reader": reader, "batch": batch, "slot": slot} for reader, batch, slot in rows])


def of_acknowledgements(found: Columns, asked: Columns) -> list[int]:
    return message_ids.rows_of_acknowledgements(found, asked).tolist()


def test_a_settlement_is_of_the_delivery_in_its_slot() -> None:
    whole = deliveries((0, 0, 0), (0, 0, 1), (0, 2, 0), (1, 0, 0), (1, 0, 1), (1, 0, 2))
    assert of_acknowledgements(whole, acknowledgements((1, 0, 2), (0, 0, 0), (0, 0, 1), (0, 2, 0), (1, 0, 0))) == [
        5,
        0,
        1,
        2,
        3,
    ]
    # No such slot, batch, reader: not the neighbour's either.
    strangers = acknowledgements(
        (0, 0, 2), (0, 1, 0), (0, 2, 1), (1, 0, 3), (1, 2, 0), (2, 0, 0), (0, 3, 0), (1, 0, 99)
    )
    assert of_acknowledgements(whole, strangers) == [-1] * 8


def test_settlements_of_batches_in_any_order() -> None:
    whole = deliveries((1, 3, 0), (1, 3, 1), (0, 9, 0), (1, 1, 0), (0, 2, 0), (0, 2, 1))
    assert of_acknowledgements(whole, acknowledgements((0, 9, 0), (0, 2, 1), (1, 1, 0), (1, 3, 1), (0, 3, 0))) == [
        2,
        5,
        3,
        1,
        -1,
    ]


@pytest.mark.parametrize(
    "rows",
    [
        [(0, 0, 1), (0, 0, 2)],  # the first slot lies elsewhere
        [(0, 0, 0), (0, 0, 2), (0, 0, 1)],
        [(0, 0, 0), (0, 0, 2)],
        [(0, 0, 0), (0, 1, 0), (0, 0, 1)],
        [(0, 0, 0), (0, 1, 0), (0, 0, 1), (0, 1, 1)],
        [(0, 0, 0), (0, 1, 1), (0, 1, 2)],
        [(1, 0, 0), (0, 0, 1), (0, 0, 0), (1, 0, 1)],
        [(0, 0, 0), (0, 0, 1), (0, 0, 3)],
    ],
)
def test_settlements_of_scattered_deliveries(rows: list[tuple[int, int, int]]) -> None:
    assert of_acknowledgements(deliveries(*rows), acknowledgements(*rows)) == list(range(len(rows)))
    assert of_acknowledgements(deliveries(*rows), acknowledgements((0, 0, 9), (5, 0, 0), (0, 5, 0))) == [-1, -1, -1]


def test_settlements_of_large_numbers() -> None:
    """Floating point would not tell these readers' batches apart."""
    rows = [(2**30, 2**30, 0), (2**30, 2**30 + 1, 0)]
    assert of_acknowledgements(deliveries(*rows), acknowledgements(*reversed(rows))) == [1, 0]


def test_nothing_delivered_or_settled() -> None:
    assert of_acknowledgements(deliveries(), acknowledgements((0, 0, 0), (0, 0, 1))) == [-1, -1]
    assert of_acknowledgements(deliveries((0, 0, 0)), acknowledgements()) == []
    assert of_acknowledgements(deliveries(), acknowledgements()) == []


_rows = st.lists(st.tuples(st.integers(0, 2), st.integers(0, 4), st.integers(0, 3)), max_size=12, unique=True)


@settings(max_examples=60, deadline=None)
@given(_rows, _rows, st.booleans())
def test_joins_of_settlements_against_a_dictionary(
    found: list[tuple[int, int, int]], asked: list[tuple[int, int, int]], ordered: bool
) -> None:
    found = sorted(found) if ordered else found
    where = {row: at for at, row in enumerate(found)}
    assert of_acknowledgements(deliveries(*found), acknowledgements(*asked)) == [where.get(row, -1) for row in asked]


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, 5), min_size=1, max_size=4), st.randoms(use_true_random=False))
def test_ids_against_a_dictionary(counts: list[int], random: object) -> None:
    messages = [(producer, seq) for producer, count in enumerate(counts) for seq in range(count)]
    random.shuffle(messages)  # type: ignore[attr-defined]
    meant = [producer for producer in range(len(counts)) if random.random() < 0.7]  # type: ignore[attr-defined]
    ours = sorted(message for message in messages if message[0] in meant)
    asked = [(producer, seq) for producer in range(-1, len(counts) + 2) for seq in range(-1, 7)]
    expected = [ours.index(message) if message in ours else -1 for message in asked]
    for gaps in (True, False):
        numbers = message_ids.of(sends(*messages), meant, gaps=gaps)
        assert [messages[row] for row in numbers.rows.tolist()] == ours
        assert numbers.ids(*pairs(*asked)).tolist() == expected
