"""Rows are a sequence of payloads like any other."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from brokerbench.brokers.rows import Rows, sizes_of


def rows(payloads: list[bytes]) -> Rows:
    return Rows(np.frombuffer(b"".join(payloads), np.uint8).reshape(len(payloads), -1))


@given(st.data())
def test_rows_are_the_payloads_they_were_made_of(data: st.DataObject) -> None:
    size = data.draw(st.integers(1, 70))
    payloads = data.draw(st.lists(st.binary(min_size=size, max_size=size), min_size=1, max_size=20))
    made = rows(payloads)
    assert list(made) == payloads
    assert [made[at] for at in range(-len(payloads), len(payloads))] == payloads * 2
    part = data.draw(st.slices(len(payloads)))
    assert list(made[part]) == payloads[part]
    assert sizes_of(made).tolist() == sizes_of(payloads).tolist() == [size] * len(payloads)


def test_zeros_at_the_end_of_a_payload_stay() -> None:
    assert list(rows([b"a\0\0", b"\0\0\0"])) == [b"a\0\0", b"\0\0\0"]


def test_what_was_handed_over_cannot_be_changed_through_rows() -> None:
    made = rows([b"ab"])
    with pytest.raises(ValueError, match="read-only"):
        made.matrix[0, 0] = 0


def test_rows_have_a_width() -> None:
    with pytest.raises(ValueError, match="width"):
        Rows(np.empty((3, 0), np.uint8))
