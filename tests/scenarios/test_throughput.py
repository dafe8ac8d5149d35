"""The throughput scenario: its arithmetic on histories typed by hand, and whole runs in process."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from brokerbench.bench.load.processes import Processes
from brokerbench.brokers.types import Outcome
from brokerbench.scenarios import throughput
from brokerbench.scenarios.base import Context, Examination
from brokerbench.scenarios.history import Action, History, parquet_table, saved_history
from brokerbench.scenarios.history.stamp import INTACT
from brokerbench.scenarios.metrics import window_rates
from brokerbench.scenarios.metrics.window_rates import Window
from tests.scenarios.harness import loaded, of

S = 1_000_000_000


def window(number: int = 0, start_s: float = 1, end_s: float = 3, *, drained: bool = False) -> Window:
    return Window(number, "publish", 100, False, int(start_s * S), int(end_s * S), drained)


def typed(
    sends: list[tuple[int, int, float]],
    send_outcomes: list[tuple[int, int, float, Outcome]] = [],  # noqa: B006 - only read
    deliveries: list[tuple[int, int, float]] = [],  # noqa: B006
    acknowledgements: list[tuple[float, Outcome]] = [],  # noqa: B006
    marks: list[dict[str, Any]] = [],  # noqa: B006
) -> History:
    """Rows of producer, seq, then a time in seconds (acknowledgements: only that), then an outcome where it has one."""

    def times(values: list[float]) -> np.ndarray[Any, np.dtype[np.int64]]:
        return np.array([round(value * S) for value in values], np.int64)

    def column(values: list[int]) -> np.ndarray[Any, np.dtype[np.int64]]:
        return np.array(values, np.int64)

    return History(
        sends={
            "producer": column([row[0] for row in sends]),
            "seq": column([row[1] for row in sends]),
            "intended_ns": times([row[2] for row in sends]),
            "sent_ns": times([row[2] for row in sends]),
        },
        send_outcomes={
            "producer": column([row[0] for row in send_outcomes]),
            "seq": column([row[1] for row in send_outcomes]),
            "settled_ns": times([row[2] for row in send_outcomes]),
            "outcome": column([row[3] for row in send_outcomes]),
        },
        deliveries={
            "producer": column([row[0] for row in deliveries]),
            "seq": column([row[1] for row in deliveries]),
            "received_ns": times([row[2] for row in deliveries]),
            "status": column([INTACT] * len(deliveries)),
        },
        acknowledgements={
            "reader": column([0] * len(acknowledgements)),
            "settled_ns": times([row[0] for row in acknowledgements]),
            "outcome": column([row[1] for row in acknowledgements]),
            "action": column([Action.ACKNOWLEDGE] * len(acknowledgements)),
        },
        marks=marks,
    )


ACK, NO, UNKNOWN = Outcome.ACKNOWLEDGED, Outcome.REJECTED, Outcome.UNKNOWN


def test_a_message_counts_in_the_window_of_its_answer() -> None:
    seen = typed(
        sends=[(0, seq, 0.5) for seq in range(6)],
        send_outcomes=[
            (0, 0, 0.9, ACK),
            (0, 1, 1.0, ACK),
            (0, 2, 2.9, ACK),
            (0, 3, 3.0, ACK),
            (0, 4, 2.0, NO),
            (0, 5, 2.0, UNKNOWN),
        ],
    )
    timeline = window_rates.timeline(seen)
    assert window_rates.rate(timeline.published_ns, window()) == pytest.approx(2 / 2)


def test_a_window_that_ran_dry_ends_with_its_last_event() -> None:
    timeline = window_rates.timeline(typed([], acknowledgements=[(1.25, ACK), (1.5, ACK), (1.4, ACK), (2.0, NO)]))
    assert window_rates.rate(timeline.consumed_ns, window(drained=True)) == pytest.approx(3 / 0.5)
    assert window_rates.rate(timeline.consumed_ns, window(drained=False)) == pytest.approx(3 / 2)


def test_an_empty_window_has_no_rate() -> None:
    timeline = window_rates.timeline(typed([]))
    assert window_rates.rate(timeline.published_ns, window(drained=True)) == 0.0


def test_latencies_belong_to_their_messages_whatever_the_order() -> None:
    seen = typed(
        sends=[(3, 0, 1.0), (3, 1, 1.1), (1, 0, 1.2)],
        send_outcomes=[(1, 0, 1.25, ACK), (3, 1, 1.2, ACK), (3, 0, 1.4, ACK)],
        deliveries=[(1, 0, 2.2), (3, 0, 2.0), (9, 0, 2.0), (3, 7, 2.0), (-1, -1, 2.0)],
    )
    timeline = window_rates.timeline(seen)
    assert timeline.published_ns.tolist() == [int(t * S) for t in (1.2, 1.25, 1.4)]
    assert [round(ns / 1e6) for ns in timeline.publish_latency_ns] == [100, 50, 400]
    # Deliveries of what was never sent have no latency.
    assert [round(ns / 1e6) for ns in timeline.end_to_end_ns] == [1000, 1000]


def test_sends_with_gaps_are_refused() -> None:
    with pytest.raises(ValueError, match="numbered"):
        window_rates.timeline(typed([(0, 0, 1.0), (0, 2, 1.0)]))


def test_usage_adds_up_over_processes_and_names_the_busiest() -> None:
    mark = {"event": "usage", "role": "producer", "window": 4}
    marks = [
        {**mark, "process_cpu_ns": 3 * S, "loop_cpu_ns": S, "wall_ns": 2 * S},
        {**mark, "process_cpu_ns": S, "loop_cpu_ns": S // 2, "wall_ns": 2 * S},
        {**mark, "window": 5, "process_cpu_ns": 9 * S, "loop_cpu_ns": 9 * S, "wall_ns": S},
    ]
    used = window_rates.usage(typed([], marks=marks), "producer", 4)
    assert used is not None
    assert (used.cores, used.busiest) == (2.0, 0.5)
    assert window_rates.usage(typed([], marks=marks), "consumer", 4) is None


def test_the_generator_is_blamed_when_busy_or_near_its_ceiling() -> None:
    idle, busy = window_rates.WindowUsage(S, 2 * S, 0.5), window_rates.WindowUsage(S, S, 0.95)
    assert window_rates.limited_by([100.0], [idle], 1000.0) == ""
    assert window_rates.limited_by([100.0], [idle, busy], 1000.0) == "generator"
    assert window_rates.limited_by([100.0, 710.0], [idle], 1000.0) == "generator"
    assert window_rates.limited_by([100.0], [idle], 0.0) == ""


QUICK: Mapping[str, Any] = {"window_s": 0.2, "warmup_s": 0.05, "repeats": 2, "batches": [10, 100], "ceiling_s": 0.05}


_NOT_ASKED_FOR = {"delivery.key", "delivery.count", "delivery.broker_time", "delivery.broker_time_order"}
"""Loads ask for no details."""
_NOT_TOLD = {"delivery.place", "delivery.own_place", "delivery.key_partition"}
"""By a broker without places."""


def context(directory: Path, profile: str, load: Processes, **parameters: Any) -> Context:
    return loaded(throughput, directory, load, profile, **{**QUICK, **parameters})


def run(directory: Path, profile: str, **parameters: Any) -> Examination:
    with Processes() as load:
        throughput.run(context(directory, profile, load, **parameters))
    assert sorted(path.name for path in (directory / "history").iterdir() if path.is_dir()) == []
    return throughput.examine(saved_history.load(directory / "history"))


@pytest.mark.parametrize(("profile", "batches"), [("memory", [10, 100]), ("noop", [2, 4])])
@pytest.mark.usefixtures("sound_windows")
def test_a_whole_run(tmp_path: Path, profile: str, batches: list[int]) -> None:
    # Small batches: noop keeps 262,144 messages at most, and takes a million a second in large ones. A shorter window
    # can pass without a message where the machine stands still.
    examination = run(tmp_path, profile, window_s=0.5, batches=batches)
    in_order = "ordering.per_key.one_consumer"
    assert tuple(finding.property for finding in examination.findings) == (*throughput.PROPERTIES, in_order)
    for finding in examination.findings:
        silent = {"delivery.key"} if profile == "memory" else _NOT_ASKED_FOR | _NOT_TOLD
        assert (finding.observations > 1000) is (finding.property not in silent), finding
        assert finding.violations == 0, finding
    assert "proven drain" in examination.findings[0].note
    for batch in batches:
        for mode, name in (("publish", "publish_rate"), ("both", "publish_rate"), ("consume", "consume_rate")):
            measured = of(examination, name, mode=mode, batch=batch)
            assert len(measured.samples) == 2
            assert min(measured.samples) > 100
            assert of(examination, "noop_ceiling", mode=mode, batch=batch, of=name).samples[0] > 1000
        latency = of(examination, "end_to_end_latency", batch=batch, quantile="p50")
        assert 0 < latency.samples[0] < 1000
        assert "closed loop" in of(examination, "publish_latency", mode="both", batch=batch, quantile="p99").note
        assert 0 < of(examination, "client_cpu", mode="both", batch=batch, role="consumer").samples[0] < 1.1
        for name in ("consumer_lag", "backlog_age"):
            assert len(of(examination, name, mode="both", batch=batch).samples) == 2
    assert max(of(examination, "consumer_lag_over_time").samples) > 100, "nobody reads while it only publishes"
    assert max(of(examination, "backlog_age_over_time").samples) > 50
    warm = [metric for metric in examination.metrics if metric.warmup]
    assert {metric.name for metric in warm} == {"publish_rate", "publish_bytes", "consume_rate", "consume_bytes"}


def test_several_of_each_and_late_acknowledgements(tmp_path: Path) -> None:
    examination = run(tmp_path, "memory", producers=2, consumers=2, acknowledge_every=3, repeats=1, batches=[20])
    assert [finding.violations for finding in examination.findings] == [0] * len(throughput.PROPERTIES)
    assert of(examination, "consume_rate", mode="both").labels["consumers"] == 2


def test_tables_in_many_files_are_judged_as_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parquet_table, "_ROWS_PER_GROUP", 64)
    monkeypatch.setattr(parquet_table, "_GROUPS_PER_FILE", 2)
    examination = run(tmp_path, "memory", producers=2, consumers=2, repeats=1, batches=[20])
    for kind in ("sends", "send_outcomes", "deliveries", "acknowledgements"):
        assert list((tmp_path / "history").glob(f"{kind}.*~0002.parquet")), kind
    for finding in examination.findings:
        assert finding.observations > 300 or finding.property in _NOT_ASKED_FOR
        assert (finding.violations, finding.unknown) == (0, 0), finding


def test_only_what_is_asked_for(tmp_path: Path) -> None:
    examination = run(tmp_path, "memory", modes=["publish"], repeats=1, batches=[20])
    assert {metric.labels["mode"] for metric in examination.metrics if metric.name == "publish_rate"} == {"publish"}
    assert "proven drain" in examination.findings[0].note


def test_an_unknown_mode_is_refused() -> None:
    with pytest.raises(ValueError, match="unknown mode 'sideways'"):
        throughput.check({**throughput.DEFAULTS, "modes": ["sideways"]})


@pytest.mark.usefixtures("sound_windows")
def test_the_seed_decides_the_order(tmp_path: Path) -> None:
    orders = []
    for attempt in "ab":
        run(tmp_path / attempt, "noop", repeats=3, batches=[1, 10, 100], modes=["publish"], window_s=0.02)
        orders.append([mark["batch"] for mark in saved_history.load(tmp_path / attempt / "history").events("window")])
    assert orders[0] == orders[1]


def test_a_history_of_nothing_is_no_evidence() -> None:
    examination = throughput.examine(typed([]))
    assert [finding.not_testable for finding in examination.findings] == ["nothing was observed"] * len(
        throughput.PROPERTIES
    )
    assert not examination.metrics
