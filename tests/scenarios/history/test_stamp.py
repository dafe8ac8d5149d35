"""The stamp sees any change of any byte, and names the message where it still can."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from brokerbench.scenarios.history import stamp

RUN = 7


def stamped(size: int, count: int = 3) -> list[bytes]:
    stamper = stamp.Stamper(producer=5, run=RUN, size=size, seed=1)
    payloads, _ = stamper.stamp(np.arange(count, dtype=np.int64), np.arange(count, dtype=np.int64) * 10, 123)
    return payloads


@given(size=st.integers(stamp.SIZE, 300))
def test_what_was_stamped_is_read_back(size: int) -> None:
    stamper = stamp.Stamper(producer=5, run=RUN, size=size, seed=1)
    seqs = np.arange(4, dtype=np.int64)
    payloads, checksums = stamper.stamp(seqs, seqs * 10, 123)
    stamps = stamp.read(payloads, RUN)
    assert [len(payload) for payload in payloads] == [size] * 4
    assert stamps.status.tolist() == [stamp.INTACT] * 4
    assert stamps.seq.tolist() == seqs.tolist()
    assert stamps.key.tolist() == [0, 10, 20, 30]
    assert stamps.producer.tolist() == [5] * 4
    assert stamps.due_ns.tolist() == [123] * 4
    assert (stamps.checksum == checksums).all()


@given(sizes=st.lists(st.integers(0, 300), min_size=1, max_size=20), data=st.data())
def test_payloads_of_any_sizes_are_read_as_one_by_one(sizes: list[int], data: st.DataObject) -> None:
    payloads = [stamped(size, 1)[0] if size >= stamp.SIZE else bytes(size) for size in sizes]
    at = data.draw(st.integers(0, len(sizes) - 1))
    if sizes[at]:
        payloads[at] = payloads[at][:-1] + bytes([payloads[at][-1] ^ 1])
    together = stamp.read(payloads, RUN)
    alone = [stamp.read([payload], RUN) for payload in payloads]
    for name in ("producer", "seq", "key", "due_ns", "size", "checksum", "status"):
        column = getattr(together, name)
        assert column.tolist() == [getattr(one, name)[0] for one in alone]
        assert column.dtype == getattr(alone[0], name).dtype


def test_records_keep_their_sizes_and_what_stands_behind_the_stamp() -> None:
    records = [b"a" * 48, b"b" * 100, b"c" * 333]
    stamper = stamp.Stamper(producer=5, run=RUN, size=0, seed=1, records=records)
    payloads, checksums = stamper.stamp(np.arange(7), np.arange(7), 123)
    assert [payload[48:] for payload in payloads] == [(records * 3)[at][48:] for at in range(7)]
    (eighth,), _ = stamper.stamp(np.arange(7, 8), np.arange(7, 8), 123)
    assert eighth[48:] == records[1][48:]
    stamps = stamp.read(payloads, RUN)
    assert stamps.status.tolist() == [stamp.INTACT] * 7
    assert (stamps.checksum == checksums).all()


def test_a_record_shorter_than_the_stamp_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 48 bytes, not 47"):
        stamp.Stamper(producer=5, run=RUN, size=100, seed=1, records=[bytes(100), bytes(47)])


@given(size=st.integers(stamp.SIZE, 200), data=st.data())
def test_any_changed_byte_is_seen(size: int, data: st.DataObject) -> None:
    payload = bytearray(stamped(size)[1])
    at = data.draw(st.integers(0, size - 1))
    payload[at] ^= data.draw(st.integers(1, 255))
    assert stamp.read([bytes(payload)], RUN).status[0] != stamp.INTACT


def test_two_swapped_words_are_seen() -> None:
    payload = bytearray(stamped(128)[0])
    payload[64:72], payload[72:80] = payload[72:80], payload[64:72]
    assert stamp.read([bytes(payload)], RUN).status.tolist() == [stamp.CORRUPT]


@pytest.mark.parametrize("cut", [0, 1, 47, 48, 100, 127])
def test_a_cut_payload_is_seen(cut: int) -> None:
    assert stamp.read([stamped(128)[0][:cut]], RUN).status[0] != stamp.INTACT


def test_a_damaged_body_still_names_its_message() -> None:
    payload = bytearray(stamped(128)[2])
    payload[-1] ^= 1
    stamps = stamp.read([bytes(payload)], RUN)
    assert (stamps.status[0], stamps.producer[0], stamps.seq[0]) == (stamp.CORRUPT, 5, 2)


def test_messages_of_another_run_are_foreign() -> None:
    stamps = stamp.read(stamped(64), RUN + 1)
    assert stamps.status.tolist() == [stamp.FOREIGN] * 3
    assert stamps.producer.tolist() == [-1] * 3


def test_mixed_sizes_keep_their_order() -> None:
    payloads = [stamped(64)[0], b"short", stamped(100)[1], stamped(64)[2]]
    stamps = stamp.read(payloads, RUN)
    assert stamps.seq.tolist() == [0, -1, 1, 2]
    assert stamps.size.tolist() == [64, 5, 100, 64]


def test_nothing_is_read_from_nothing() -> None:
    assert len(stamp.read([], RUN).seq) == 0


def test_a_payload_too_small_for_the_stamp_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 48"):
        stamp.Stamper(producer=0, run=1, size=47, seed=1)
