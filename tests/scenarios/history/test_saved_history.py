"""A saved history says the same whether it is in memory or read in stretches."""

from __future__ import annotations

from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from brokerbench.brokers.types import Outcome
from brokerbench.scenarios.analysis import delivery
from brokerbench.scenarios.history import SCHEMAS, Action, Columns, History, Writer, saved_history
from brokerbench.scenarios.history.parquet_table import DTYPES
from brokerbench.scenarios.history.stamp import CORRUPT, INTACT
from brokerbench.scenarios.metrics import message_times, window_rates
from brokerbench.scenarios.metrics.message_times import NEVER, MessageTimes

CHANNELS, GROUPS, EACH = ("a", "b"), ("g", "h"), 40
"""Producers 0 and 2 send to a, 1 and 3 to b; readers 0 to 3 are g of a, h of a, g of b, h of b."""


def rows(kind: str, **columns: Any) -> Columns:
    count = max(np.size(column) for column in columns.values())
    whole = {field.name: np.zeros(count, DTYPES[field.type]) for field in SCHEMAS[kind]}
    for name, values in columns.items():
        whole[name][:] = values
    return whole


def write(directory: Path, seed: int) -> None:
    """Sends out of order, some never settled; deliveries late, again, altered, of strangers and elsewhere."""
    rng = np.random.default_rng(seed)
    for producer in range(4):
        with Writer(directory, f"p{producer}", run=1) as writer:
            writer.mark("producer", producer=producer, channel=CHANNELS[producer % 2])
            due_ns = rng.permutation(EACH) * 100 + producer
            writer.rows(
                "sends", rows("sends", producer=producer, seq=np.arange(EACH), intended_ns=due_ns, sent_ns=due_ns + 7)
            )
            outcomes = rng.choice([Outcome.ACKNOWLEDGED, Outcome.REJECTED, Outcome.UNKNOWN], EACH, p=[0.8, 0.1, 0.1])
            seqs = rng.permutation(EACH)
            settled_ns = due_ns[seqs] + rng.integers(10, 90, EACH)
            writer.rows(
                "send_outcomes",
                rows("send_outcomes", producer=producer, seq=seqs, settled_ns=settled_ns, outcome=outcomes),
            )
    for reader in range(4):
        with Writer(directory, f"r{reader}", run=1) as writer:
            channel, group = CHANNELS[reader // 2], GROUPS[reader % 2]
            writer.mark("reader", reader=reader, kind="consumer", channel=channel, group=group)
            count = 3 * EACH
            taken = rows(
                "deliveries",
                reader=reader,
                slot=np.arange(count),
                producer=rng.choice([0, 2] if channel == "a" else [1, 3], count),
                seq=rng.integers(0, EACH, count),
                received_ns=rng.integers(0, 5000, count),
                status=rng.choice([INTACT, CORRUPT], count, p=[0.9, 0.1]),
                size=1,
            )
            taken["producer"][:5] = [7, -1, 0, 1, 2]
            taken["seq"][3:5] = [EACH, -1]
            writer.rows("deliveries", taken)
            actions = rng.choice([Action.ACKNOWLEDGE, Action.RELEASE], count)
            writer.rows(
                "acknowledgements",
                rows(
                    "acknowledgements",
                    reader=reader,
                    slot=np.arange(count),
                    action=actions,
                    settled_ns=rng.permutation(count),
                ),
            )


def in_memory(history: History) -> History:
    tables = {kind: {name: table[name] for name in table} for kind in SCHEMAS for table in [getattr(history, kind)]}
    return replace(history, **tables)


def plainly(history: History, producers: list[int], groups: list[list[int]]) -> list[tuple[int, ...]]:
    """Due, sent, settled and received (by each group) of these producers' messages, by loops."""
    ways: dict[tuple[int, int], list[int]] = {}
    sends, settled, taken = history.sends, history.send_outcomes, history.deliveries
    for row in range(len(sends["seq"])):
        if sends["producer"][row] in producers:
            key = int(sends["producer"][row]), int(sends["seq"][row])
            ways[key] = [int(sends["intended_ns"][row]), int(sends["sent_ns"][row]), NEVER] + [NEVER] * len(groups)
    for row in range(len(settled["seq"])):
        key = int(settled["producer"][row]), int(settled["seq"][row])
        if key in ways and settled["outcome"][row] == Outcome.ACKNOWLEDGED:
            ways[key][2] = min(ways[key][2], int(settled["settled_ns"][row]))
    for row in range(len(taken["seq"])):
        key = int(taken["producer"][row]), int(taken["seq"][row])
        for at, readers in enumerate(groups):
            if key in ways and taken["status"][row] == INTACT and taken["reader"][row] in readers:
                ways[key][3 + at] = min(ways[key][3 + at], int(taken["received_ns"][row]))
    return sorted(map(tuple, ways.values()))


def listed(of: MessageTimes) -> list[tuple[int, ...]]:
    assert (np.diff(of.due_ns) >= 0).all()
    columns = (of.due_ns, of.sent_ns, of.settled_ns)
    first = [column[:: of.groups].tolist() for column in columns]
    return sorted(zip(*first, *(of.of_group(at).received_ns.tolist() for at in range(of.groups)), strict=True))


@pytest.mark.parametrize("stretch", [1000, 7])
@pytest.mark.parametrize("seed", range(3))
def test_figures_are_the_same_in_stretches(
    tmp_path: Path, seed: int, stretch: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path, seed)
    monkeypatch.setattr(saved_history, "_ROWS_PER_STRETCH", stretch)
    history = saved_history.load(tmp_path)
    whole = in_memory(saved_history.load(tmp_path))
    every = [0, 1, 2, 3]
    assert listed(message_times.of_history(history)) == plainly(whole, every, [[0, 2], [1, 3]])
    by_channel = {name: listed(of) for name, of in message_times.of_channels(history)}
    assert by_channel == {"a": plainly(whole, [0, 2], [[0], [1]]), "b": plainly(whole, [1, 3], [[2], [3]])}
    ours, theirs = (window_rates.timeline(each) for each in (history, whole))
    for field in fields(ours):
        assert getattr(ours, field.name).tolist() == getattr(theirs, field.name).tolist()
    assert window_rates.consumed_ns(history, [1, 2]).tolist() == window_rates.consumed_ns(whole, [1, 2]).tolist()
    tables = (history.sends, history.send_outcomes, history.deliveries, history.acknowledgements)
    assert not any(table.in_memory for table in tables if isinstance(table, saved_history.Saved)), (
        "nothing was read whole"
    )
    assert saved_history.directory_of(history) == tmp_path
    assert saved_history.directory_of(whole) is None
    assert saved_history.directory_of(replace(history, acknowledgements=whole.acknowledgements)) is None


def in_format_1(directory: Path) -> None:
    """Make the history that ``write`` wrote one of before: other names of two tables, no version."""
    for now, before in (("send_outcomes", "settled"), ("acknowledgements", "settles")):
        for path in directory.glob(f"{now}.*"):
            path.rename(path.with_name(path.name.replace(now, before)))
    for path in directory.glob("marks.*"):
        lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
        path.write_text("".join(line for line in lines if '"event": "format"' not in line), encoding="utf-8")


def test_a_history_of_the_first_format_says_the_same(tmp_path: Path) -> None:
    for name in ("now", "before"):
        write(tmp_path / name, 0)
    in_format_1(tmp_path / "before")
    names = {path.name.partition(".")[0] for path in (tmp_path / "before").iterdir()}
    assert names == {"sends", "settled", "deliveries", "settles", "marks"}
    now, before = (saved_history.load(tmp_path / name) for name in ("now", "before"))
    assert [len(list(each.events("format", version=3))) for each in (now, before)] == [8, 0]
    for kind in SCHEMAS:
        rows = saved_history.rows(tmp_path / "now", kind)
        assert rows == saved_history.rows(tmp_path / "before", kind) > 0
        assert getattr(now, kind).keys() == getattr(before, kind).keys()
        for name, column in getattr(now, kind).items():
            assert column.tolist() == getattr(before, kind)[name].tolist()
    assert listed(message_times.of_history(now)) == listed(message_times.of_history(before))
    assert [(of.property, of.observations, of.violations) for of in delivery.findings(before)] == [
        (of.property, of.observations, of.violations) for of in delivery.findings(now)
    ]


def test_a_format_of_later_is_refused(tmp_path: Path) -> None:
    with Writer(tmp_path, "w", run=1) as writer:
        writer.mark("format", version=4)
    with pytest.raises(ValueError, match="has history format 4; this version reads up to 3"):
        saved_history.load(tmp_path)


def test_what_is_delivered_is_judged_from_disk(tmp_path: Path) -> None:
    write(tmp_path, 0)
    history = saved_history.load(tmp_path)
    found = delivery.findings(history)
    assert not isinstance(history.deliveries, saved_history.Saved) or not history.deliveries.in_memory
    assert [(of.property, of.observations, of.violations) for of in found] == [
        (of.property, of.observations, of.violations) for of in delivery.findings(in_memory(history))
    ]
    assert sum(of.violations for of in found) > 100
    assert [path for path in tmp_path.iterdir() if path.is_dir()] == [], "shards are removed"


@pytest.mark.parametrize("seqs", [[0, 2], [0, 0], [1], [-1, 0]])
def test_numbers_with_gaps_are_refused(tmp_path: Path, seqs: list[int]) -> None:
    with Writer(tmp_path, "p", run=1) as writer:
        writer.rows("sends", rows("sends", producer=3, seq=np.array(seqs)))
    with pytest.raises(ValueError, match="not numbered from 0 without gaps"):
        message_times.of_history(saved_history.load(tmp_path))
