"""Beside programs that use every core: the verdicts are those of a quiet machine, and no speed ranks."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from brokerbench.bench.run.meters import MachineMeter
from brokerbench.reports import speeds
from brokerbench.scenarios import results
from brokerbench.scenarios.metrics import doubts
from brokerbench.scenarios.results import RunResult
from brokerbench.scenarios.verdicts import Verdict

pytestmark = [pytest.mark.engine, pytest.mark.slow, pytest.mark.timeout(600)]

PLAN = Path(__file__).with_name("disturbed.yaml")


@contextmanager
def hogs() -> Iterator[None]:
    with ExitStack() as stack:
        for _ in range(os.cpu_count() or 1):
            process = stack.enter_context(subprocess.Popen([sys.executable, "-c", "while True: pass"]))
            stack.callback(process.kill)
        yield


def run(directory: Path) -> tuple[RunResult, str]:
    """The result, and what was said meanwhile."""
    program = str(Path(sys.executable).with_name("brokerbench"))
    command = [program, "run", str(PLAN), "--engine", "native", "--seed", "7", "--out", str(directory)]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=500)
    assert done.returncode == 0, done.stdout + done.stderr
    return results.read(directory / "result.json"), done.stderr


def test_a_disturbed_run_says_so_and_ranks_nothing(tmp_path: Path) -> None:
    with hogs():
        result, said = run(tmp_path / "run")
    for cell in result.cells:
        assert cell.disturbed.startswith("disturbed: up to "), cell.id
        assert f"{cell.disturbed};" in said
        shares = [metric for metric in cell.metrics if metric.name == "machine_strangers"]
        assert shares and all(max(metric.samples) > 100 * doubts.MOST_TAKEN for metric in shares)
        assert all(row.verdict is not Verdict.REFUTED for row in cell.verdicts)
        assert all(speed.metric.doubt and speed.no_rank for speed in speeds.of_cell(cell))
    redis = next(cell for cell in result.cells if cell.profile == "redis-streams")
    windows = [metric for metric in redis.metrics if metric.name == "publish_rate"]
    assert all(2 <= len(metric.samples) <= 2 + 3 for metric in windows), "repeated, and not for ever"
    assert "was taken by others" in (tmp_path / "run" / "report.html").read_text(encoding="utf-8")


def test_a_quiet_run_is_not_flagged(tmp_path: Path) -> None:
    meter = MachineMeter({os.getpid()})
    before = meter()
    result, _ = run(tmp_path / "run")
    if doubts.taken(before, meter()).by_others > doubts.MOST_TAKEN / 4:
        pytest.skip("other work ran on this machine meanwhile")
    assert [cell.disturbed for cell in result.cells] == [""] * len(result.cells)
    assert not any(metric.doubt for cell in result.cells for metric in cell.metrics)
