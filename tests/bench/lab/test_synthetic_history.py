"""The synthetic history has something to judge for each checker; shards give the same findings as the whole."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from brokerbench.bench.lab import sharded_checks, synthetic_history
from brokerbench.bench.selftest.checks import CHECKS
from brokerbench.scenarios.checkers.index import channel_index
from brokerbench.scenarios.checkers.sharding import reduction
from brokerbench.scenarios.history import saved_history

FAULTS = (
    "delivery.no_loss",
    "delivery.no_phantom",
    "delivery.no_duplicate",
    "delivery.intact",
    "delivery.count",
    "deduplication.applied",
    "deduplication.only_repeats",
    "dead_letter.complete",
    "dead_letter.only_failed",
    "ordering.per_key",
)


def test_every_checker_has_something_to_judge_and_says_of_shards_what_it_says_of_the_whole(tmp_path: Path) -> None:
    faults = synthetic_history.write(tmp_path, synthetic_history.STRETCH, 1000, lambda share: None)
    assert 0 <= saved_history.rows(tmp_path, "deliveries") - synthetic_history.STRETCH < 2000
    whole = channel_index.of_channel(saved_history.load(tmp_path), synthetic_history.CHANNEL)
    expected = {name: replace(check(whole), property=name) for name, check in CHECKS.items()}
    assert reduction.reduced(tmp_path, sharded_checks.reductions(whole.history.marks), 100_000) == expected
    assert {name: expected[name].violations for name in FAULTS} == dict.fromkeys(FAULTS, faults)
    assert not [name for name, finding in expected.items() if finding.not_testable or not finding.observations]
