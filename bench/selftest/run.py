"""The whole self-test, on all cores, and its outcome in words, as JSON and as a page."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import tempfile
import threading
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any

from brokerbench.bench.selftest import matrix, random_histories
from brokerbench.bench.selftest.cases import CASES, CROSS
from brokerbench.bench.selftest.matrix import FaultRow, Matrix, Tell
from brokerbench.bench.selftest.random_histories import Alarm

_CLEAN_SHARE = 0.1
"""Share of the time that the clean histories take."""


@dataclass(frozen=True, slots=True)
class SelftestResult:
    """``messages``: number among which one was hit. ``histories``: number of clean ones that were judged."""

    messages: int
    matrix: Matrix
    histories: int
    alarms: Sequence[Alarm]

    @property
    def problems(self) -> list[str]:
        """Reasons why the self-test fails, in words."""
        rows = self.matrix.rows
        return [
            *(f"{row.fault} is not found by {row.checker}" for row in rows if not row.found),
            *(f"{name} answers to {row.fault}, and nobody has reviewed why" for row in rows for name in row.unreviewed),
            *(
                f"{name} finds {count} in the story {silence.script!r} without any fault"
                for silence in self.matrix.silences
                for name, count in silence.alarms.items()
            ),
            *(f"{alarm.checker} finds {alarm.violations} in the clean history {alarm.seed}" for alarm in self.alarms),
        ]


def run(messages: int, histories: int, tell: Tell) -> SelftestResult:
    with _workers() as pool:
        alarms = random_histories.search(histories, pool, lambda share, doing: tell(share * _CLEAN_SHARE, doing))
        measured = matrix.measure(
            messages, pool, lambda share, doing: tell(_CLEAN_SHARE + share * (1 - _CLEAN_SHARE), doing)
        )
        return SelftestResult(messages, measured, histories, alarms)


@contextmanager
def _workers() -> Iterator[Executor]:
    """One process a core; they end, and their temporary files go, however the self-test ends.

    After an error, processes that still run are killed, not awaited.
    """
    with tempfile.TemporaryDirectory(prefix="brokerbench-selftest-") as directory:
        context = multiprocessing.get_context("spawn")
        pool = ProcessPoolExecutor(os.cpu_count(), context, initializer=_begin, initargs=(directory,))
        try:
            yield pool
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            for process in multiprocessing.active_children():
                process.kill()
            pool.shutdown()
            raise
        pool.shutdown()


def _begin(directory: str) -> None:
    """Leave Ctrl-C to the parent. When the parent is killed, end too, and remove the temporary files."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    tempfile.tempdir = directory
    threading.Thread(target=_end_with_parent, args=(directory,), daemon=True).start()


def _end_with_parent(directory: str) -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        # Another thread of this process may be writing there: removal waits for the end of all of them.
        subprocess.Popen(["/bin/sh", "-c", 'read _; rm -rf "$0"', directory], stdin=subprocess.PIPE)
        os._exit(1)


def as_json(outcome: SelftestResult) -> dict[str, Any]:
    return {
        "messages": outcome.messages,
        "false_alarms": {"histories": outcome.histories, "alarms": [asdict(alarm) for alarm in outcome.alarms]},
        "faults": [_row_as_json(row) for row in outcome.matrix.rows],
        "problems": outcome.problems,
    }


def _row_as_json(row: FaultRow) -> Mapping[str, Any]:
    return {
        "fault": row.fault.value,
        "checker": row.checker,
        "found": row.found,
        "offending_seeded": len(row.single.seeded),
        "offending_found": row.single.found(),
        "messages": row.single.messages,
        "opportunities": row.single.opportunities,
        "also_answer": [
            {"checker": name, "reason": CROSS.get((row.fault, name), "not reviewed")} for name in row.others
        ],
    }


def text(outcome: SelftestResult) -> str:
    lines = [f"one hit among {outcome.messages:,} messages"]
    width = max(map(len, CASES))
    for row in outcome.matrix.rows:
        mark = "found" if row.found else "NOT FOUND"
        others = f"; also {', '.join(row.others)}" if row.others else ""
        lines.append(
            f"{row.fault.value:<{width}}  {mark:<9}  {row.checker} "
            f"({row.single.found()} of {len(row.single.seeded)}){others}"
        )
    wrong = len({alarm.seed for alarm in outcome.alarms})
    lines.append(f"false alarms: {wrong} of {outcome.histories:,} clean histories")
    lines += [f"problem: {problem}" for problem in outcome.problems]
    return "\n".join(lines)
