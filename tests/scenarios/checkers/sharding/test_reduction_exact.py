"""Every checker says of shards what it says of the whole: of experiments with every fault, and of wild clean ones."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from brokerbench.bench.lab import sharded_checks
from brokerbench.bench.selftest import random_histories
from brokerbench.bench.selftest.cases import CASES
from brokerbench.bench.selftest.checks import CHECKS
from brokerbench.bench.selftest.scripts import Script, Size, play
from brokerbench.bench.selftest.simulation import CHANNEL
from brokerbench.brokers.faulty import Fault, FaultName
from brokerbench.scenarios.checkers.index import channel_index
from brokerbench.scenarios.checkers.sharding import reduction
from brokerbench.scenarios.history import SCHEMAS, Columns, History, Writer, saved_history, select
from brokerbench.scenarios.verdicts import Finding


def _batches(deliveries: Columns) -> list[np.ndarray]:
    """Rows of each batch: they stand together."""
    begins = np.flatnonzero(deliveries["slot"] == 0)
    return np.split(np.arange(len(deliveries["slot"])), begins[1:])


def _write(directory: Path, whole: History, seed: int) -> None:
    """Rows in random order (of deliveries: whole batches), over three writers."""
    rng = np.random.default_rng(seed)
    writers = [Writer(directory, f"w{number}", run=1) for number in range(3)]
    for mark in whole.marks:
        writers[0].mark(**mark)
    for kind in SCHEMAS:
        table: Columns = getattr(whole, kind)
        rows = len(next(iter(table.values())))
        if not rows:
            continue
        pieces = _batches(table) if kind == "deliveries" else np.array_split(rng.permutation(rows), 9)
        for at in rng.permutation(len(pieces)).tolist():
            writers[int(rng.integers(3))].rows(kind, select(table, pieces[at]))
    for writer in writers:
        writer.close()


def _streamed(whole: History, seed: int, per_shard: int) -> dict[str, Finding]:
    with tempfile.TemporaryDirectory() as directory:
        _write(Path(directory), whole, seed)
        marks = saved_history.marks(Path(directory))
        return reduction.reduced(Path(directory), sharded_checks.reductions(marks), per_shard)


def _compare(whole: History, seed: int) -> set[str]:
    """Names of what was testable."""
    of = channel_index.of_channel(whole, CHANNEL)
    expected = {name: replace(check(of), property=name) for name, check in CHECKS.items()}
    for per_shard in (len(whole.sends["seq"]) // 5 + 1, 10_000):
        assert _streamed(whole, seed, per_shard) == expected
    return {name for name, finding in expected.items() if not finding.not_testable}


@pytest.mark.parametrize("seed", range(12))
def test_clean_histories(seed: int) -> None:
    _compare(random_histories.history(seed), seed)


@pytest.mark.parametrize("fault", CASES)
def test_faults_in_their_own_story(fault: FaultName) -> None:
    _compare(play(CASES[fault].script, Size(240), [Fault(fault, 0.05, 1, None)]).history, 1)


@pytest.mark.parametrize("script", Script)
def test_many_faults_at_once(script: Script) -> None:
    names = (FaultName.LOSE, FaultName.DUPLICATE, FaultName.CORRUPT, FaultName.UNKNOWN_OUTCOME)
    _compare(play(script, Size(240), [Fault(name, 0.05, 2, None) for name in names]).history, 2)
