"""A run judged again says the same, byte for byte; the same seed sends the same, another seed does not."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from brokerbench.scenarios import ordering, replay
from brokerbench.scenarios.history import stamp
from tests.scenarios import harness
from tests.system.cli.conftest import Call

PLAN = """\
name: again
profiles: [memory]
cells:
  - scenario: replay
    parameters: {messages: 200}
  - scenario: ordering
    parameters: {messages: 200}
  - scenario: throughput
    parameters: {batches: [100], repeats: 2, window_s: 50 ms, warmup_s: 20 ms, ceiling_s: 20 ms}
"""


def result_bytes(run: Path) -> bytes:
    """The whole of it: judging again keeps also the time stamps of the run."""
    return (run / "result.json").read_bytes()


def in_another_order(run: Path, copy: Path) -> Path:
    """The same files, made in the opposite order: a directory may list them otherwise."""
    for path in sorted(run.rglob("*"), reverse=True):
        if path.is_file():
            target = copy / path.relative_to(run)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, target)
    return copy


def test_a_run_judged_again_is_the_same_to_the_byte(call: Call, tmp_path: Path) -> None:
    plan, run = tmp_path / "plan.yaml", tmp_path / "run"
    plan.write_text(PLAN, encoding="utf-8")
    assert call("run", plan, "--out", run, "--seed", "7").code == 0
    measured = result_bytes(run)
    assert len(json.loads((run / "result.json").read_text())["cells"]) == 3
    for _ in range(2):
        assert call("analyse", run).code == 0
        assert result_bytes(run) == measured
    other = in_another_order(run, tmp_path / "other")
    assert call("analyse", other).code == 0
    assert result_bytes(other) == measured


def test_a_flipped_bit_is_one_message(call: Call, plan: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    assert call("run", plan, "--out", run).code == 0
    before = (run / "result.json").read_bytes()
    file = max(run.rglob("deliveries.*.parquet"), key=lambda path: path.stat().st_size)
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 4
    file.write_bytes(content)
    ended = call("analyse", run)
    assert (ended.code, str(file) in ended.err, len(ended.err.splitlines())) == (2, True, 1), ended.err
    assert (run / "result.json").read_bytes() == before


Sent = dict[int, list[tuple[int, int, bytes]]]


def sent(scenario: Any, seed: int, directory: Path, monkeypatch: pytest.MonkeyPatch, **parameters: Any) -> Sent:
    """By producer, in order: seq, key, and the payload behind the stamp, which holds the time of sending."""
    seen: Sent = {}
    whole = stamp.Stamper.stamp

    def watched(
        self: stamp.Stamper, seqs: npt.NDArray[np.int64], keys: npt.NDArray[np.int64], due_ns: int
    ) -> tuple[list[bytes], npt.NDArray[np.uint64]]:
        payloads, sums = whole(self, seqs, keys, due_ns)
        producers = stamp.read(payloads, 77).producer
        for producer, seq, key, payload in zip(producers.tolist(), seqs.tolist(), keys.tolist(), payloads, strict=True):
            seen.setdefault(producer, []).append((seq, key, payload[stamp.SIZE :]))
        return payloads, sums

    with monkeypatch.context() as patched:
        patched.setattr(stamp.Stamper, "stamp", watched)
        harness.run(scenario, harness.memory(), directory, seed=seed, **parameters)
    return seen


@pytest.mark.parametrize(("scenario", "parameters"), [(replay, {"messages": 200}), (ordering, {"messages": 200})])
def test_the_same_seed_sends_the_same(
    scenario: Any, parameters: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = sent(scenario, 7, tmp_path / "first", monkeypatch, **parameters)
    again = sent(scenario, 7, tmp_path / "again", monkeypatch, **parameters)
    other = sent(scenario, 8, tmp_path / "other", monkeypatch, **parameters)
    assert first.keys() == again.keys()
    # Some producers go on until a reader has seen enough: the clock decides how long they are, the seed what they send.
    assert sum(map(len, first.values())) >= 200
    for producer in first:
        shorter = min(len(first[producer]), len(again[producer]))
        assert first[producer][:shorter] == again[producer][:shorter]
    assert not any(first[producer][:10] == other[producer][:10] for producer in first)
