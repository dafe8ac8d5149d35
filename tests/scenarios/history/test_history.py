"""A history comes back as it was written, from many writers."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from brokerbench.brokers.types import Outcome, Received, Settlements
from brokerbench.scenarios import history
from brokerbench.scenarios.history import Action, Writer, parquet_table, saved_history, stamp


def send_some(writer: Writer, producer: int, count: int) -> list[bytes]:
    stamper = stamp.Stamper(producer=producer, run=7, size=64, seed=1)
    seqs = np.arange(count, dtype=np.int64)
    payloads, checksums = stamper.stamp(seqs, seqs, 5)
    writer.sends(producer, seqs, seqs, 64, checksums, 100, 101)
    return payloads


def received(payloads: list[bytes]) -> Received:
    count = len(payloads)
    return Received(
        payloads,
        [b"k"] * count,
        np.zeros(count, np.int32),
        np.arange(count, dtype=np.int64),
        500,
        np.full(count, 9, np.int64),
        np.ones(count, np.int32),
    )


def test_round_trip_over_two_writers(tmp_path: Path) -> None:
    for number in (0, 1):
        with Writer(tmp_path, f"w{number}", 7) as writer:
            writer.mark("producer", producer=number, role="a" if number else "b")
            payloads = send_some(writer, number, 3)
            writer.send_outcomes(number, Settlements.uniform(0, 2, Outcome.ACKNOWLEDGED, 200))
            writer.deliveries(number, 0, received(payloads[:2]))
            writer.acknowledgements(
                number, 0, Action.ACKNOWLEDGE, Settlements.uniform(0, 2, Outcome.ACKNOWLEDGED, 600), 550
            )
    loaded = saved_history.load(tmp_path)
    assert loaded.sends["seq"].tolist() == [0, 1, 2] * 2
    assert loaded.outcomes().tolist() == [1, 1, 0] * 2, "what nothing settled is unknown"
    assert loaded.outcome_column("settled_ns", -1).tolist() == [200, 200, -1] * 2
    assert loaded.deliveries["status"].tolist() == [stamp.INTACT] * 4
    assert (loaded.deliveries["checksum"][:2] == loaded.sends["checksum"][:2]).all()
    assert loaded.acknowledgements["asked_ns"].tolist() == [550] * 4
    assert loaded.producers(role="a") == [1]
    assert [mark["at_ns"] for mark in loaded.marks] == sorted(mark["at_ns"] for mark in loaded.marks)


def test_row_groups_are_streamed_to_disk(tmp_path: Path) -> None:
    with Writer(tmp_path, "w", 7) as writer:
        stamper = stamp.Stamper(producer=0, run=7, size=64, seed=1)
        for first in range(0, 300_000, 50_000):
            seqs = np.arange(first, first + 50_000, dtype=np.int64)
            _, checksums = stamper.stamp(seqs, seqs % 7, 5)
            writer.sends(0, seqs, seqs % 7, 64, checksums, 100, 101)
        assert (tmp_path / "sends.w.parquet").stat().st_size > 100_000, "written before it is closed"
    assert len(saved_history.load(tmp_path).sends["seq"]) == 300_000


def test_a_file_is_opened_with_its_first_row_and_not_with_the_first_row_group(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parquet_table, "_ROWS_PER_GROUP", 10)
    opened: list[Path] = []
    make = parquet_table.pq.ParquetWriter

    def counted(path: Path, *words: Any, **options: Any) -> Any:
        opened.append(path)
        return make(path, *words, **options)

    monkeypatch.setattr(parquet_table.pq, "ParquetWriter", counted)
    with Writer(tmp_path, "w", 7) as writer:
        assert not list(tmp_path.glob("*.parquet"))
        send_some(writer, 0, 1)
        assert opened == [tmp_path / "sends.w.parquet"]
        send_some(writer, 0, 30)
        assert len(opened) == 1


def test_a_long_table_is_continued_in_further_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parquet_table, "_ROWS_PER_GROUP", 10)
    monkeypatch.setattr(parquet_table, "_GROUPS_PER_FILE", 2)
    seqs = np.arange(245, dtype=np.int64)
    for name, producer in (("w", 0), ("w-1", 1)):
        with Writer(tmp_path, name, 7) as writer:
            for part in np.array_split(seqs, 9):
                writer.sends(producer, part, part % 5, 64, part.astype(np.uint64), part, 1)
    names = sorted(path.name for path in tmp_path.glob("sends.w.*")) + sorted(
        path.name for path in tmp_path.glob("sends.w~*")
    )
    assert names == ["sends.w.parquet", *(f"sends.w~{at:04d}.parquet" for at in range(1, 13))]
    sends = saved_history.load(tmp_path).sends
    for producer in (0, 1):
        assert sends["seq"][sends["producer"] == producer].tolist() == seqs.tolist()
    for kind in ("send_outcomes", "deliveries", "acknowledgements"):
        assert not list(tmp_path.glob(f"{kind}.*"))


def test_a_table_that_ends_with_a_file_leaves_no_empty_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parquet_table, "_ROWS_PER_GROUP", 10)
    monkeypatch.setattr(parquet_table, "_GROUPS_PER_FILE", 2)
    seqs = np.arange(40, dtype=np.int64)
    with Writer(tmp_path, "w", 7) as writer:
        writer.sends(0, seqs, seqs, 64, seqs.astype(np.uint64), seqs, 1)
    assert sorted(path.name for path in tmp_path.glob("sends.*")) == ["sends.w.parquet", "sends.w~0001.parquet"]
    assert saved_history.load(tmp_path).sends["seq"].tolist() == seqs.tolist()


@pytest.mark.parametrize("batch", [1, 7, 10, 25])
def test_batches_and_row_groups_need_not_meet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, batch: int) -> None:
    monkeypatch.setattr(parquet_table, "_ROWS_PER_GROUP", 10)
    whole = np.arange(53, dtype=np.int64)
    with Writer(tmp_path, "w", 7) as writer:
        for at in range(0, 53, batch):
            seqs = whole[at : at + batch]
            writer.sends(3, seqs, seqs % 5, 64, (seqs * 11).astype(np.uint64), seqs + 1, at)
    sends = saved_history.load(tmp_path).sends
    assert sends["seq"].tolist() == whole.tolist()
    assert sends["key"].tolist() == (whole % 5).tolist()
    assert sends["checksum"].tolist() == (whole * 11).tolist()
    assert sends["intended_ns"].tolist() == (whole + 1).tolist()
    assert sends["sent_ns"].tolist() == (whole // batch * batch).tolist()
    assert set(sends["producer"].tolist()) == {3}


def test_what_goes_wrong_in_the_background_is_heard_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parquet_table, "_ROWS_PER_GROUP", 10)

    def full(*_: object) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr(parquet_table.pq.ParquetWriter, "write_table", full)
    with pytest.raises(OSError, match="no space left"), Writer(tmp_path, "w", 7) as writer:
        send_some(writer, 0, 10)
    writer = Writer(tmp_path, "x", 7)
    send_some(writer, 0, 10)
    with pytest.raises(OSError, match="no space left"):
        send_some(writer, 0, 10)
    with pytest.raises(OSError, match="no space left"):
        writer.close()


def test_an_empty_directory_is_an_empty_history(tmp_path: Path) -> None:
    loaded = saved_history.load(tmp_path)
    assert len(loaded.sends["seq"]) == 0
    assert len(loaded.outcomes()) == 0


def test_damage_is_named(tmp_path: Path) -> None:
    (tmp_path / "sends.x.parquet").write_bytes(b"PAR1 nonsense")
    with pytest.raises(ValueError, match=r"damaged history file .*sends\.x\.parquet"):
        saved_history.load(tmp_path)
    (tmp_path / "sends.x.parquet").unlink()
    (tmp_path / "marks.x.jsonl").write_text('{"event": "a", "at_ns": 1}\n{"even\n')
    with pytest.raises(ValueError, match=r"marks\.x\.jsonl, line 2"):
        saved_history.load(tmp_path)


@pytest.mark.parametrize(
    "line", [b"\xff\xfe", b"3", b"{}", b'{"event": "a"}', b'{"at_ns": 1}', b'{"event": "format", "at_ns": 1}', b""]
)
def test_a_damaged_mark_is_named(tmp_path: Path, line: bytes) -> None:
    (tmp_path / "marks.x.jsonl").write_bytes(b'{"event": "a", "at_ns": 1}\n' + line + b'\n{"event": "b", "at_ns": 2}\n')
    with pytest.raises(ValueError, match=r"damaged history file .*marks\.x\.jsonl, line 2: "):
        saved_history.load(tmp_path)


def test_a_table_with_other_columns_is_named(tmp_path: Path) -> None:
    pq.write_table(pa.table({"producer": [1]}), tmp_path / "sends.w.parquet")
    with pytest.raises(ValueError, match=r"damaged history file .*sends\.w\.parquet"):
        saved_history.load(tmp_path).outcomes()


@pytest.mark.parametrize("share", [0.1, 0.5, 0.8])
def test_a_flipped_bit_is_named(tmp_path: Path, share: float) -> None:
    with Writer(tmp_path, "w", 7) as writer:
        send_some(writer, 0, 5000)
    path = tmp_path / "sends.w.parquet"
    content = bytearray(path.read_bytes())
    content[int(len(content) * share)] ^= 1
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"damaged history file .*sends\.w\.parquet"):
        saved_history.load(tmp_path).outcomes()
    with pytest.raises(ValueError, match=r"damaged history file .*sends\.w\.parquet"):
        list(saved_history.stream(tmp_path, "sends"))


@pytest.mark.parametrize("rows", [1, 3])
def test_columns_of_unlike_length_are_refused(tmp_path: Path, rows: int) -> None:
    """A single row would be taken for a value of all."""
    columns = {name: np.zeros(2, np.int64) for name in history.SCHEMAS["acknowledgements"].names}
    with history.Writer(tmp_path, "w", run=1) as writer:
        with pytest.raises(ValueError, match=f"{rows} rows of slot, 2 of the table"):
            writer.rows("acknowledgements", {**columns, "slot": np.zeros(rows, np.int64)})
        writer.rows("acknowledgements", columns)
    assert saved_history.rows(tmp_path, "acknowledgements") == 2
