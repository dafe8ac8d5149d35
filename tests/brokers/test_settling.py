"""One builder of outcome columns for all adapters."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from brokerbench.brokers.errors import Misuse
from brokerbench.brokers.settling import Outcomes
from brokerbench.brokers.types import MAX_ERRORS, NO_PARTITION, NO_PLACE, Outcome, Received, Settlements

ACKNOWLEDGED, REJECTED, UNKNOWN = Outcome.ACKNOWLEDGED, Outcome.REJECTED, Outcome.UNKNOWN


def delivery(count: int) -> Received:
    rows = np.arange(count)
    return Received((), (), rows.astype(np.int32) % 3, rows + 100, 1, rows, np.ones(count, np.int32))


def test_all_have_the_first_outcome_until_told() -> None:
    found = Outcomes.of(delivery(4), None)
    found.tell([1, 3], ACKNOWLEDGED)
    found.tell(slice(3, 4), REJECTED, "gone")
    settled = found.settlements(settled_ns=7)
    assert settled.tickets.tolist() == [0, 1, 2, 3]
    assert settled.outcomes.tolist() == [UNKNOWN, ACKNOWLEDGED, UNKNOWN, REJECTED]
    assert settled.settled_ns.tolist() == [7] * 4
    assert settled.places.tolist() == [100, 101, 102, 103]
    assert settled.errors == {3: "gone"}


def test_chosen_messages_keep_their_own_columns_and_times() -> None:
    found = Outcomes.of(delivery(6), [4, 2], ACKNOWLEDGED)
    found.tell([1], REJECTED, "late")
    settled = found.settlements(np.array([8, 9]))
    assert settled.tickets.tolist() == [4, 2]
    assert settled.partitions.tolist() == [1, 2]
    assert settled.places.tolist() == [104, 102]
    assert settled.settled_ns.tolist() == [8, 9]
    assert settled.errors == {2: "late"}


@pytest.mark.parametrize("indices", [[0, 0], [3], [-1]])
def test_indices_twice_or_outside_are_misuse(indices: Sequence[int]) -> None:
    with pytest.raises(Misuse):
        Outcomes.of(delivery(3), indices)


def test_reasons_are_kept_for_the_first_messages_only() -> None:
    found = Outcomes.of_sends(np.arange(50, 50 + 2 * MAX_ERRORS), ACKNOWLEDGED)
    found.tell([0], UNKNOWN, "first")
    found.tell(slice(1, None), REJECTED, "others")
    settled = found.settlements()
    assert settled.errors == {50: "first"} | {50 + at: "others" for at in range(1, MAX_ERRORS)}
    assert np.count_nonzero(settled.outcomes == REJECTED) == 2 * MAX_ERRORS - 1
    assert set(settled.partitions.tolist()) == {NO_PARTITION}
    assert set(settled.places.tolist()) == {NO_PLACE}


def test_settlements_put_together_keep_as_many_reasons() -> None:
    parts = [Settlements.uniform(at, 1, REJECTED, 1, f"reason {at}") for at in range(MAX_ERRORS + 5)]
    assert Settlements.concat(parts).errors == {at: f"reason {at}" for at in range(MAX_ERRORS)}
