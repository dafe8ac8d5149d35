"""Sizes, contents and keys of a load."""

from __future__ import annotations

import zlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from brokerbench.brokers.declarations import Limits
from brokerbench.brokers.memory.declaration import DECLARATION as MEMORY
from brokerbench.scenarios.load import payloads, replay_log, sizes, workload
from brokerbench.scenarios.load.payloads import Choice, Keys, KeySpec, Kind, PayloadSpec


def drawn(text: str, count: int = 20_000) -> np.ndarray[Any, np.dtype[np.int64]]:
    return sizes.draw(text, count, np.random.default_rng(1))


def test_sizes_follow_their_distribution() -> None:
    some = drawn("lognormal(1 KiB, 0.5, 4 KiB)")
    assert np.median(some) == pytest.approx(1024, rel=0.02)
    assert np.std(np.log(some)) == pytest.approx(0.5, rel=0.05)
    assert (some.min(), some.max()) >= (48, 4096)
    assert drawn("lognormal(100 B, 3)").min() == 48
    even = drawn("uniform(100, 2 kB)")
    assert (even.min(), even.max()) == (100, 2000)
    weighted = drawn("128 B: 3, 1 KiB: 1")
    assert set(weighted.tolist()) == {128, 1024}
    assert np.mean(weighted == 128) == pytest.approx(0.75, abs=0.02)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("pareto(1 KiB)", "sizes must be like"),
        ("lognormal(1 KiB)", "takes a median, a sigma"),
        ("lognormal(1 KiB, -1)", "'-1' in .* must be a number greater than 0"),
        ("lognormal(40 B, 1)", "40 B is below 48 bytes"),
        ("uniform(2 KiB, 1 KiB)", "is above its largest"),
        ("128 B: many", "'many' in"),
        ("47 B: 1, 128 B: 1", "47 B is below 48"),
        ("3 parsecs: 1", "unknown unit 'parsecs'"),
    ],
)
def test_wrong_sizes_say_what_would_be_right(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        drawn(text)


def made(**spec: Any) -> list[bytes]:
    return payloads.records(PayloadSpec(**{"size": 1000, **spec}), seed=1, producer=0)


def test_contents() -> None:
    assert len(zlib.compress(made()[0])) > 1000
    half = made(kind=Kind.COMPRESSIBLE, random_share=0.5, pool=10)
    assert [len(record) for record in half] == [1000] * 10
    assert half[0][500:] == bytes(500)
    assert 500 < len(zlib.compress(half[0])) < 550
    mixed = made(sizes="uniform(100, 200)", pool=50)
    assert len({len(record) for record in mixed}) > 10
    assert made(sizes="uniform(100, 200)", pool=50) == mixed, "the same seed gives the same records"
    assert sum(map(len, made(sizes="1 MiB: 1"))) == 64 << 20, "a pool is bounded"


def test_a_log_is_replayed_in_its_order(tmp_path: Path) -> None:
    records = [f'{{"number": {number}, "text": "{"x" * (50 + number)}"}}'.encode() for number in range(5)]
    lines = tmp_path / "log.jsonl"
    lines.write_bytes(b"\n".join(records) + b"\n\n")
    assert made(kind=Kind.REPLAY, path=str(lines)) == records
    table = pa.table({"id": range(5), "body": [record.decode() for record in records], "raw": records})
    pq.write_table(table, tmp_path / "log.parquet")
    for column in ("body", "raw"):
        assert made(kind=Kind.REPLAY, path=str(tmp_path / "log.parquet"), column=column) == records
    folder = tmp_path / "files"
    folder.mkdir()
    for at, record in enumerate(records):
        (folder / f"{at}.bin").write_bytes(record)
    assert made(kind=Kind.REPLAY, path=str(folder)) == records
    assert made(kind=Kind.REPLAY, path=str(folder / "3.bin")) == [records[3]]


def test_a_log_that_cannot_be_sent_is_named(tmp_path: Path) -> None:
    short = tmp_path / "short.jsonl"
    short.write_bytes(b"x" * 48 + b"\n" + b"y" * 47 + b"\n")
    empty = tmp_path / "empty.jsonl"
    empty.write_bytes(b"")
    table = tmp_path / "log.parquet"
    pq.write_table(pa.table({"a": ["x"], "b": ["y"]}), table)
    fake = tmp_path / "fake.parquet"
    fake.write_bytes(b"no parquet")
    for path, column, message in (
        (short, "", "record 2 has 47 bytes; the measuring stamp needs 48"),
        (empty, "", "holds no record"),
        (table, "", "payload_column must name one of a, b"),
        (table, "c", "no column 'c'"),
        (fake, "", "fake.parquet"),
        (tmp_path / "nowhere", "", "cannot be read"),
    ):
        with pytest.raises(ValueError, match=message):
            made(kind=Kind.REPLAY, path=str(path), column=column)


@pytest.mark.parametrize(
    "spec",
    [
        {"kind": Kind.REPLAY},
        {"path": "x"},
        {"kind": Kind.REPLAY, "path": "x", "sizes": "1 KiB: 1"},
        {"size": 47},
        {"random_share": 1.5},
        {"pool": 0},
    ],
)
def test_contradictions_are_refused(spec: dict[str, Any]) -> None:
    with pytest.raises(ValueError):
        PayloadSpec(**{"size": 100, **spec})


def test_keys_follow_zipf() -> None:
    taken = Keys(1, KeySpec(100, skew=0.99)).take(60_000)
    counts = np.bincount(taken, minlength=100)
    shares = np.arange(1, 101) ** -0.99
    assert counts / len(taken) == pytest.approx(shares / shares.sum(), rel=0.25, abs=5e-4)
    assert counts[0] / counts[1] == pytest.approx(2**0.99, rel=0.05)


def test_keys_in_turn_random_and_none() -> None:
    turn = Keys(1, KeySpec(5, choice=Choice.IN_TURN))
    assert turn.take(3).tolist() + turn.take(9).tolist() + turn.take(2).tolist() == [0, 1, 2, 3, 4] * 2 + [0, 1, 2, 3]
    assert set(Keys(1, KeySpec(5)).take(200_000).tolist()) == set(range(5))
    assert set(Keys(1, KeySpec(5, keyed=False)).take(10).tolist()) == {-1}
    for wrong in ({"keys": 0}, {"keys": 5, "skew": 1.0, "choice": Choice.IN_TURN}):
        with pytest.raises(ValueError):
            KeySpec(**wrong)  # type: ignore[arg-type]


def test_labels_tell_of_an_unusual_load() -> None:
    usual = dict(workload.PARAMETERS)
    names = ("size", "keys", "durability")
    assert workload.labels(usual, names) == {"size": 1024, "keys": 1000, "durability": "default"}
    other = {**usual, "sizes": "1 KiB: 1", "keyed": False, "linger_ms": 0.0}
    assert workload.labels(other, names) == {
        "durability": "default",
        "sizes": "1 KiB: 1",
        "keyed": "no",
        "linger_ms": 0.0,
    }
    assert workload.labels({"size": 1}, names) == {"size": 1}, "an older history"


def test_a_directory_is_read_to_the_bottom_without_hidden_files(tmp_path: Path) -> None:
    for name in ("push/b.json", "push/a.json", "issues/deep/er/c.json", "z.json", ".git/HEAD", "push/.DS_Store"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(name.encode().ljust(100, b"."))
    log = replay_log.read(tmp_path)
    assert log.names == ["issues/deep/er/c.json", "push/a.json", "push/b.json", "z.json"]
    assert [record.rstrip(b".").decode() for record in log.records] == list(log.names)
    assert (log.hidden, replay_log.hidden(tmp_path), log.size) == (2, 2, 400)
    assert str(log) == (
        f"payload_path {tmp_path}: 4 records, 400 bytes, the largest is record 1 (issues/deep/er/c.json) with 100; "
        "left out: 2 hidden files"
    )
    (tmp_path / "push" / "short").write_bytes(b"x")
    with pytest.raises(ValueError, match=r"record 4 \(push/short\) has 1 bytes; the measuring stamp needs 48"):
        replay_log.read(tmp_path)


def limits(most: int | None, encoding: str = "bytes") -> Limits:
    return replace(MEMORY.limits, max_message_bytes=most, payload_encoding=encoding)


def test_a_message_above_the_limit_is_refused_with_name_size_limit_and_a_way_out(tmp_path: Path) -> None:
    log = tmp_path / "log.jsonl"
    log.write_bytes(b"a" * 500 + b"\n" + b"b" * 2001 + b"\n")
    spec = PayloadSpec(size=1000, kind=Kind.REPLAY, path=str(log))
    payloads.check_fits(spec, limits(2001))
    payloads.check_fits(spec, limits(None))
    payloads.check_fits(spec, None)
    with pytest.raises(
        ValueError,
        match=r"log.jsonl: record 2 has 2,001 bytes, and the profile takes 2,000 at most \(it encodes them: base64\); "
        "take such records out of the log, or leave the profile out",
    ):
        payloads.check_fits(spec, limits(2000, "base64"))
    payloads.check_fits(PayloadSpec(size=1000), limits(1000))
    with pytest.raises(
        ValueError, match=r"size: a message has 1,001 bytes, and the profile takes 1,000 at most; set a"
    ):
        payloads.check_fits(PayloadSpec(size=1001), limits(1000))


@pytest.mark.parametrize(
    ("text", "most"),
    [
        ("lognormal(1 KiB, 1.0)", 64 << 10),
        ("lognormal(1 KiB, 1.0, 2 KiB)", 2048),
        ("lognormal(1 MiB, 1.0)", 1 << 20),
        ("uniform(100 B, 3 KiB)", 3072),
        ("1 KiB: 99, 3 MiB: 1", 3 << 20),
    ],
)
def test_the_largest_size_of_a_distribution(text: str, most: int) -> None:
    assert sizes.largest(text) == most
    payloads.check_fits(PayloadSpec(size=100, sizes=text), limits(most))
    with pytest.raises(ValueError, match=f"the largest message has {most:,} bytes"):
        payloads.check_fits(PayloadSpec(size=100, sizes=text), limits(most - 1))
