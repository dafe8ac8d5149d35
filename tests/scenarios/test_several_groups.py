"""Fan-out: several groups each get every message, are counted each and together, or are refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from brokerbench.bench.load.processes import Processes
from brokerbench.brokers.errors import Unsupported
from brokerbench.brokers.types import Outcome
from brokerbench.scenarios import latency, throughput
from brokerbench.scenarios.analysis.latency import Paced, latencies_ns
from brokerbench.scenarios.base import Examination
from brokerbench.scenarios.history import History, saved_history
from brokerbench.scenarios.history.stamp import INTACT
from brokerbench.scenarios.metrics import message_times
from brokerbench.scenarios.omb import test_result
from brokerbench.scenarios.omb.test_result import About
from brokerbench.scenarios.plans import plan
from tests.scenarios.harness import loaded, of

MS = 1_000_000
QUICK = {
    throughput: {"window_s": 0.2, "warmup_s": 0.05, "repeats": 1, "batches": [20], "ceiling_s": 0.05},
    latency: {
        "rates": [500],
        "window_s": 0.4,
        "saturate_s": 0.2,
        "warmup_s": 0.1,
        "ceiling_s": 0.05,
        "away_s": 0.2,
        "search_steps": 0,
        "confirm": 0,
        "latency_limit_ms": 1000.0,
    },
}


def run(directory: Path, scenario: Any, profile: str = "memory", **parameters: Any) -> tuple[Examination, History]:
    with Processes() as load:
        scenario.run(loaded(scenario, directory, load, profile, **{**QUICK[scenario], **parameters}))
    seen = saved_history.load(directory / "history")
    return scenario.examine(seen), seen


def acknowledged(seen: History) -> int:
    return int(np.count_nonzero(seen.send_outcomes["outcome"] == Outcome.ACKNOWLEDGED))


def neighbours(seen: History) -> int:
    """Pairs of messages of one producer and key, one sent after the other."""
    groups = set(zip(seen.sends["producer"].tolist(), seen.sends["key"].tolist(), strict=True))
    return len(seen.sends["seq"]) - len(groups)


@pytest.mark.parametrize("consumers", [1, 2])
def test_every_group_gets_every_message(tmp_path: Path, consumers: int) -> None:
    examination, seen = run(tmp_path, throughput, groups=3, consumers=consumers)
    assert {group: len(readers) for group, readers in seen.groups().items()} == {
        f"brokerbench-{at}": consumers for at in range(3)
    }
    lost, *others = examination.findings
    assert (lost.observations, lost.violations) == (3 * acknowledged(seen), 0)
    in_order = 1 if consumers == 1 else 0
    assert [finding.violations for finding in others] == [0] * (len(throughput.PROPERTIES) - 1 + in_order)
    if consumers == 1:
        in_order = others[-1]
        assert in_order.property == "ordering.per_key.one_consumer"
        assert in_order.observations == 3 * neighbours(seen)
    assert "after a proven drain" in lost.note
    consumed = of(examination, "consume_rate", mode="both", group="all")
    published = of(examination, "publish_rate", mode="both")
    each = [of(examination, "consume_rate", mode="both", group=group).samples[0] for group in seen.groups()]
    assert sum(each) == pytest.approx(consumed.samples[0])
    assert of(examination, "client_cpu", mode="both", role="consumer").labels["group"] == "all"
    assert consumed.labels["groups"] == published.labels["groups"] == 3
    assert "of all 3 groups together" in consumed.note
    assert "groups" not in published.note
    assert "group" not in published.labels


def test_one_group_is_what_it_was(tmp_path: Path) -> None:
    examination, seen = run(tmp_path, throughput)
    assert list(seen.groups()) == ["brokerbench"]
    assert not {"group", "groups"} & {label for metric in examination.metrics for label in metric.labels}


def test_under_a_given_rate_each_group_keeps_up(tmp_path: Path) -> None:
    examination, seen = run(tmp_path, latency, groups=2)
    assert [finding.violations for finding in examination.findings] == [0] * (len(latency.PROPERTIES) + 1)
    assert examination.findings[0].observations == 2 * acknowledged(seen)
    goodput = of(examination, "goodput", group="all")
    each = [of(examination, "goodput", group=group).samples[0] for group in seen.groups()]
    assert sum(each) == pytest.approx(goodput.samples[0])
    # A busy machine receives part of it after the window; more than was due in it cannot come.
    assert 500 < goodput.samples[0] <= 1.3 * 2 * 500, "what both groups received"
    assert of(examination, "asked_rate").samples[0] == pytest.approx(goodput.samples[0] / 2), "what was published"
    end_to_end = of(examination, "end_to_end_latency", quantile="max", **{"from": "due"})
    published = of(examination, "publish_latency", quantile="max", **{"from": "due"})
    received, sent = (int(metric.note.split(" samples")[0].replace(",", "")) for metric in (end_to_end, published))
    assert received == 2 * sent
    assert 0 < of(examination, "backlog_taken").samples[0] <= 1.5 * 2 * 0.2 * 250


@pytest.mark.parametrize("scenario", [throughput, latency])
def test_a_profile_without_groups_refuses(tmp_path: Path, scenario: Any) -> None:
    with pytest.raises(Unsupported, match=r"groups: 2: noop has no groups, .*; use groups: 1"):
        run(tmp_path, scenario, "noop", groups=2)


def test_there_is_at_least_one() -> None:
    with pytest.raises(ValueError, match="groups must be greater than 0"):
        plan.parameter("throughput", "groups", 0)


def two_groups() -> History:
    """Three messages, due at 0, 10 and 20 ms; group "b" gets them 50 ms later than "a", and the last one never."""
    column = np.array
    zeros = np.zeros(3, np.int64)
    due = column([0, 10, 20]) * MS
    return History(
        sends={"producer": zeros, "seq": np.arange(3), "intended_ns": due, "sent_ns": due + MS},
        send_outcomes={
            "producer": zeros,
            "seq": np.arange(3),
            "settled_ns": due + 2 * MS,
            "outcome": np.full(3, Outcome.ACKNOWLEDGED),
        },
        deliveries={
            "reader": column([0, 0, 0, 1, 1]),
            "producer": np.zeros(5, np.int64),
            "seq": column([0, 1, 2, 0, 1]),
            "received_ns": column([5, 15, 25, 55, 65]) * MS,
            "status": np.full(5, INTACT),
        },
        acknowledgements={},
        marks=[
            {"event": "reader", "kind": "consumer", "reader": 0, "channel": "c", "group": "a"},
            {"event": "reader", "kind": "consumer", "reader": 1, "channel": "c", "group": "b"},
            {
                "event": "paced",
                "warmup": False,
                "window": 0,
                "purpose": "curve",
                "rate": 100.0,
                "start_ns": 0,
                "end_ns": 100 * MS,
                "consumers_away_s": 0.0,
            },
        ],
    )


def test_a_journey_leads_to_each_group() -> None:
    of = message_times.of_history(two_groups())
    assert (len(of), of.groups, len(of.as_sent())) == (6, 2, 3)
    assert (latencies_ns(of, "received_ns", corrected=True) / MS).tolist() == [5, 55, 5, 55, 5]
    assert (latencies_ns(of, "settled_ns", corrected=True) / MS).tolist() == [2, 2, 2]
    at = np.array([4, 30, 60, 99]) * MS
    assert of.backlog(at).tolist() == [2, 3, 2, 1], "each group waits for itself"
    assert of.underway(np.array([0, 1, 11, 99]) * MS).tolist() == [0, 2, 3, 1], "sent, whether or not acknowledged"
    assert (of.of_group(1).received_ns[:2] / MS).tolist() == [55, 65]
    assert (of.backlog_age_ns(at) / MS).tolist() == [4, 30, 50, 79], "the oldest of any group"
    window = Paced(0, "curve", 100.0, 0, 100 * MS, 0, of.due_within(0, 20 * MS))
    assert window.lasts(60 * MS) and not window.lasts(50 * MS)
    assert not Paced(0, "curve", 100.0, 0, 100 * MS, 0, of).lasts(1000 * MS), "one group never got the last"


def test_results_of_the_openmessaging_benchmark_count_all_subscriptions() -> None:
    found = test_result.as_test_result(two_groups(), About("w", "d", 1024, 1, 1, 1, 1))
    assert (found["publishRate"], found["consumeRate"]) == ([pytest.approx(30)], [pytest.approx(50)])
    assert found["backlog"] == [1]
    assert found["publishLatencyMax"] == [1.0]
    assert found["endToEndLatencyMax"] == [54.0]
