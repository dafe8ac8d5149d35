"""A seal shows every change of the files that a verdict follows from, and names the file."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from brokerbench.bench import seal, store
from brokerbench.brokers import registry
from brokerbench.scenarios.history import SCHEMAS, Writer

FLIPS = 60
"""Of each file."""


@pytest.fixture
def cell(tmp_path: Path) -> Path:
    """A sealed cell with a file of each kind."""
    with Writer(tmp_path / "history", "w", run=1) as writer:
        writer.mark("reader", reader=1, kind="consumer")
        for kind, schema in SCHEMAS.items():
            writer.rows(kind, {name: np.arange(50) for name in schema.names})
    promised = registry.declared("memory")
    assert promised is not None
    store.save_declaration(tmp_path, promised)
    seal.write(tmp_path)
    return tmp_path


def by_size(cell: Path) -> None:
    """Seal the cell as former versions did."""
    sizes = {path.name: path.stat().st_size for path in (cell / "history").iterdir()}
    (cell / "history.json").write_text(json.dumps(sizes, indent=1) + "\n")


def test_a_whole_cell_is_accepted(cell: Path) -> None:
    assert seal.exists(cell)
    assert seal.check(cell) is seal.Strength.DIGESTS


def test_every_flipped_bit_is_found_and_its_file_named(cell: Path) -> None:
    chance = random.Random(19)
    files = [path for path in cell.rglob("*") if path.is_file()]
    assert len(files) == len(SCHEMAS) + 3, "tables, marks, declaration, seal"
    for path in files:
        whole = path.read_bytes()
        for _ in range(FLIPS):
            flipped = bytearray(whole)
            flipped[chance.randrange(len(whole))] ^= 1 << chance.randrange(8)
            path.write_bytes(flipped)
            with pytest.raises(ValueError, match=r"not what the run wrote|damaged seal") as found:
                seal.check(cell)
            assert str(path) in str(found.value)
        path.write_bytes(whole)
    assert seal.check(cell) is seal.Strength.DIGESTS


def removed(cell: Path) -> Path:
    (cell / "history" / "sends.w.parquet").unlink()
    return cell / "history" / "sends.w.parquet"


def added(cell: Path) -> Path:
    (cell / "history" / "sends.v.parquet").write_bytes((cell / "history" / "sends.w.parquet").read_bytes())
    return cell / "history" / "sends.v.parquet"


def replaced_by_a_directory(cell: Path) -> Path:
    removed(cell).mkdir()
    return cell / "history" / "sends.w.parquet"


def longer(cell: Path) -> Path:
    with (cell / "history" / "marks.w.jsonl").open("a") as marks:
        marks.write('{"event": "drained", "at_ns": 1}\n')
    return cell / "history" / "marks.w.jsonl"


@pytest.mark.parametrize("change", [removed, added, replaced_by_a_directory, longer])
@pytest.mark.parametrize("former", [False, True])
def test_a_change_of_the_files_is_named(cell: Path, change: Callable[[Path], Path], former: bool) -> None:
    if former:
        by_size(cell)
    path = change(cell)
    with pytest.raises(ValueError, match=r"is missing|cannot be read|not what the run wrote") as found:
        seal.check(cell)
    assert str(path) in str(found.value)


def test_a_declaration_that_promises_something_else_is_refused(cell: Path) -> None:
    path = cell / "declaration.json"
    path.write_text(path.read_text().replace('"guaranteed"', '"impossible"', 1))
    with pytest.raises(ValueError, match=r"declaration\.json is not what the run wrote"):
        seal.check(cell)
    path.unlink()
    with pytest.raises(ValueError, match=r"declaration\.json is missing"):
        seal.check(cell)


def test_a_seal_of_sizes_is_accepted_and_says_so(cell: Path) -> None:
    by_size(cell)
    assert seal.check(cell) is seal.Strength.SIZES


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{",
        '{"a": "b"}',
        '{"files": 3}',
        '{"files": {}, "sha256": ""}',
        '{"../declaration.json": 3, "x": {}}',
        "\udcff",
    ],
)
def test_a_damaged_seal_is_named(cell: Path, text: str) -> None:
    (cell / "history.json").write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(ValueError, match=r"damaged seal .*history\.json"):
        seal.check(cell)


def test_a_missing_seal_is_named(cell: Path) -> None:
    (cell / "history.json").unlink()
    assert not seal.exists(cell)
    with pytest.raises(ValueError, match=r"history\.json is missing"):
        seal.check(cell)
