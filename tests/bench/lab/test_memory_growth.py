"""The long run's verdict on memory, from the marks that load processes leave."""

from __future__ import annotations

from pathlib import Path

import pytest

from brokerbench.bench.calibration.own_client import Verified
from brokerbench.bench.errors import BadInput, CheckFailed
from brokerbench.bench.lab import memory_growth
from brokerbench.brokers.memory.broker import Memory
from brokerbench.brokers.types import Endpoint, Retention
from brokerbench.scenarios.history import Mark


def marks(role: str, grows_by: float, seconds: int = 300) -> list[Mark]:
    """A window every three seconds; the warm-up's first 60 s are left out."""
    return [
        {
            "event": "usage",
            "role": role,
            "at_ns": at * 1_000_000_000,
            "resident_bytes": 10**9 if at < 60 else int(10**8 * (1 + grows_by * at / seconds)),
        }
        for at in range(0, seconds + 1, 3)
    ]


def test_memory_that_stays_is_flat_and_memory_that_grows_is_not() -> None:
    stays, grows = memory_growth.memory([*marks("producer", 0.0), *marks("consumer", 0.2)])
    assert (stays.role, stays.ratio, stays.flat, len(stays.resident_bytes)) == ("producer", 1.0, True, 101)
    assert (stays.first_bytes, stays.last_bytes, stays.most_bytes) == (1e8, 1e8, 1e9)
    assert (grows.role, grows.flat) == ("consumer", False)
    assert grows.ratio == pytest.approx(1.18 / 1.06, rel=0.01)


def test_who_removes_nothing_unasked_is_asked_to_keep_the_bound(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    monkeypatch.setattr(Memory, "enforce_retention", lambda broker, channel: asked.append(channel))
    monkeypatch.setattr(memory_growth, "WINDOW_S", 0.1)
    monkeypatch.setitem(memory_growth.BOUNDS, "memory", Retention(max_messages=10_000_000))
    (tmp_path / "history").mkdir()
    memory_growth._load("memory", Endpoint("memory", f"memory://{tmp_path}"), "steady", tmp_path / "history", 20_000)
    assert set(asked) == {"steady"}


def test_a_short_run_says_nothing() -> None:
    with pytest.raises(CheckFailed, match="too short"):
        memory_growth.memory([*marks("producer", 0.0, 140), *marks("consumer", 0.0, 140)])


def test_room_is_asked_for_first(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="GB are needed"):
        memory_growth._require_room(tmp_path, "kafka", 10**14)


@pytest.mark.parametrize(
    "checked",
    [Verified(9, 8, 9, 9, 0), Verified(9, 9, 8, 8, 0), Verified(9, 9, 9, 8, 0), Verified(9, 9, 9, 9, 1)],
)
def test_all_messages_count(checked: Verified) -> None:
    memory_growth._require_all(Verified(9, 9, 9, 9, 0))
    with pytest.raises(CheckFailed, match="not every message came once and intact: 9 sent"):
        memory_growth._require_all(checked)


def test_what_is_printed() -> None:
    memory = memory_growth.memory([*marks("producer", 0.0), *marks("consumer", 0.2)])
    text = memory_growth.text(
        memory_growth.MemoryGrowth("kafka", "4", 9, 3.0, 5 * 10**8, memory, Verified(9, 9, 9, 9, 0))
    )
    assert "9 messages of 1024 bytes in 3 s (3 a second)" in text
    assert "1.000 x (flat)" in text and "(NOT FLAT)" in text
    assert text.endswith("9 sent, 9 acknowledged, 9 received, 9 intact, 0 again; history 0.50 GB")
