"""The replay scenario where the group got nothing: no attempt can be made, and that is its outcome."""

from __future__ import annotations

import time
from pathlib import Path

from brokerbench.brokers.memory.broker import Memory, MemoryConsumer, Space
from brokerbench.brokers.types import ConsumerSettings, Received
from brokerbench.scenarios import replay
from brokerbench.scenarios.verdicts import Verdict, judge
from tests.scenarios import harness


class Deaf(MemoryConsumer):
    def receive(self, max_messages: int, wait_s: float) -> Received:
        time.sleep(wait_s)
        return Received.empty(time.monotonic_ns())


class GivesNothing(Memory):
    def consumer(self, channel: str, settings: ConsumerSettings) -> MemoryConsumer:
        return Deaf(self.space, channel, settings.group)


def test_an_attempt_is_not_possible_where_nothing_was_consumed(tmp_path: Path) -> None:
    space = Space()
    parameters = {"messages": 60, "beside": 30, "attempts": 2, "patience_s": 0.5, "quiet_s": 0.2, "lease_s": 0.2}
    found, _, seen = harness.run(replay, lambda: GivesNothing(space), tmp_path, **parameters)
    for mode in ("from_beginning", "from_position", "from_time"):
        attempts = list(seen.events("attempt", mode=mode))
        assert [attempt["outcome"] for attempt in attempts] == ["ended early"] * 2
        assert all("consumed nothing" in attempt["reason"] for attempt in attempts)
        finding = found[f"replay.{mode}"]
        assert (finding.observations, finding.violations) == (0, 0)
        declared = harness.memory()().declaration().of(finding.property)
        assert judge(declared, finding).verdict is Verdict.INCONCLUSIVE
        assert "consumed nothing" in finding.note
