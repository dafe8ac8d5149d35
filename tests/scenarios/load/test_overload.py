"""A window is halted when too much waits in the broker, or when the machine has little memory left."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import pytest

from brokerbench.bench.load.processes import Processes
from brokerbench.scenarios import latency
from brokerbench.scenarios.base import Context
from brokerbench.scenarios.load.controller import LoadController
from brokerbench.scenarios.load.overload import BacklogBound
from brokerbench.scenarios.load.schedule import Schedule
from tests.scenarios.harness import loaded


class Broker:
    def __init__(self, waiting: int) -> None:
        self._waiting, self.asked = waiting, 0

    def backlog(self, channel: str, group: str) -> int:
        self.asked += 1
        return self._waiting


def bound(directory: Path, broker: Any, seconds: float, most_bytes: float = 1000.0) -> BacklogBound:
    with Processes() as load:
        context: Context = replace(loaded(latency, directory, load, size=100), broker=broker)
    now = iter([0.0, seconds])
    return BacklogBound(context, "channel", ["group"], 100.0, most_bytes, lambda: next(now))


def test_the_broker_is_asked_once_enough_was_due(tmp_path: Path) -> None:
    assert not bound(tmp_path, few := Broker(11), 9.0).passed()
    assert not few.asked
    assert bound(tmp_path, Broker(11), 11.0).passed().startswith("11 messages waited")
    assert not bound(tmp_path, Broker(10), 11.0).passed()
    assert not bound(tmp_path, Broker(1000), 11.0, most_bytes=0).passed(), "a quarter of the machine's memory"


def test_a_machine_without_memory_halts_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(available=9, total=100))
    assert "memory was free" in bound(tmp_path, Broker(0), 1.0).passed()


def test_a_halted_window_sends_no_more_and_tells_the_rest(tmp_path: Path) -> None:
    with Processes() as load:
        about = loaded(latency, tmp_path, load, size=100, most_backlog_bytes=50_000)
        with about.writer("halted") as writer, LoadController(about, writer) as controller:
            controller.open("halted", [(100, 50_000)])
            # Without consumers for as long as it takes.
            backlog = controller.paced("curve", 100, Schedule(1000.0, 5.0, arrivals="regular"), consumers_away_s=4.5)
            published = controller.published
            assert 500 < published < 4500
            assert controller.unsent == 5000 - published
            assert backlog >= controller.unsent
            controller.drain()
            controller.close()
