"""A cell process's events are passed on; its time-out covers its work, not its wait for other cells."""

from __future__ import annotations

import io
import json
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from brokerbench.bench.run.cell import CellProcess

RAN, ENDED = {"ran": True}, {"status": "completed", "error": ""}


def process(said: Iterator[dict[str, Any]], killed: list[float]) -> CellProcess:
    lines = (json.dumps(event) + "\n" for event in said)
    running = SimpleNamespace(stdout=lines, stdin=io.StringIO(), wait=lambda: 0)
    return CellProcess(cast(Any, running), Path("cell.log"), lambda: killed.append(time.monotonic()))


def test_waiting_for_the_turn_to_be_examined_is_not_the_cell_s_time() -> None:
    killed: list[float] = []
    assert process(iter([RAN, ENDED]), killed).follow(lambda share, doing: None, lambda: time.sleep(1.5), 0.8) == ""
    assert killed == []


@pytest.mark.parametrize("slow", [0, 1])
def test_each_part_has_its_own_time(slow: int) -> None:
    def said() -> Iterator[dict[str, Any]]:
        for part, event in enumerate((RAN, {"progress": 1.0, "doing": "examining"})):
            time.sleep(1.5 if part == slow else 0.0)
            yield event

    killed: list[float] = []
    ended = process(said(), killed).follow(lambda share, doing: None, lambda: None, 0.8)
    assert ended == "the cell took longer than 0.8 s and was stopped"
    assert len(killed) == 1
