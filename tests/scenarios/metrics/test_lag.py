"""What waits over the time of a cell, on histories typed by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from brokerbench.brokers.types import Outcome
from brokerbench.scenarios.history import History
from brokerbench.scenarios.history.stamp import INTACT
from brokerbench.scenarios.metrics import lag

MS = 1_000_000
Row = tuple[int, float, float | None, dict[int, float]]
"""Producer, sent, acknowledged (None: unknown), received by reader; in ms."""


def typed(rows: list[Row], readers: dict[int, tuple[str, str]]) -> History:
    """``readers``: number -> channel and group. Producer 0 sends to channel a, 1 to b."""
    seqs: dict[int, int] = {}
    sends, settled, deliveries = list[Any](), list[Any](), list[Any]()
    for producer, sent, acknowledged, received in rows:
        seq = seqs[producer] = seqs.get(producer, -1) + 1
        sends.append((producer, seq, sent * MS, sent * MS))
        outcome = Outcome.UNKNOWN if acknowledged is None else Outcome.ACKNOWLEDGED
        settled.append((producer, seq, (acknowledged or 0) * MS, outcome))
        deliveries += [(reader, producer, seq, at * MS, INTACT) for reader, at in received.items()]

    def table(rows: list[Any], *names: str) -> dict[str, Any]:
        columns = np.array(rows, np.int64).reshape(-1, len(names)).T
        return dict(zip(names, columns, strict=True))

    return History(
        table(sends, "producer", "seq", "intended_ns", "sent_ns"),
        table(settled, "producer", "seq", "settled_ns", "outcome"),
        table(deliveries, "reader", "producer", "seq", "received_ns", "status"),
        {},
        [
            *({"event": "producer", "producer": number, "channel": "ab"[number]} for number in sorted(seqs)),
            *(
                {"event": "reader", "reader": number, "kind": "consumer", "channel": channel, "group": group}
                for number, (channel, group) in readers.items()
            ),
        ],
    )


def test_what_waits_is_counted_and_how_long_the_oldest_has() -> None:
    rows: list[Row] = [(0, 1000, 1001, {0: 1025}), (0, 1005, 1006, {0: 1055}), (0, 1030, 1031, {0: 1035})]
    seen = lag.looks(typed(rows, {0: ("a", "g")}))
    assert ((seen.at_ns - seen.at_ns[0]) // MS).tolist() == [0, 10, 20, 30, 40, 50, 60]
    assert seen.lag.tolist() == [1, 2, 2, 2, 1, 1, 0]
    assert (seen.age_ns // MS).tolist() == [0, 10, 20, 25, 35, 45, 0]
    part = seen.within(1010 * MS, 1030 * MS)
    assert (part.most(), part.oldest_ms()) == (2.0, 20.0)


def test_a_channel_that_is_done_with_waits_no_longer() -> None:
    lost: list[Row] = [(0, 0, 1, {}), (0, 1, 2, {0: 15})]
    later: list[Row] = [(1, 100, 101, {1: 125})]
    seen = lag.looks(typed([*lost, *later], {0: ("a", "g"), 1: ("b", "g")}))
    assert seen.lag.tolist() == [1, 2, 1, *[0] * 7, 1, 1, 1, 0]


def test_each_group_waits_for_itself() -> None:
    rows: list[Row] = [(0, 0, 1, {0: 5, 1: 35})]
    seen = lag.looks(typed(rows, {0: ("a", "one"), 1: ("a", "other")}))
    assert (seen.groups, seen.lag.tolist()) == (2, [2, 1, 1, 1, 0])
    assert {metric.labels["groups"] for metric in lag.over_time(seen)} == {2}


def test_what_the_broker_did_not_take_waits_for_nobody() -> None:
    rows: list[Row] = [(0, 0, None, {}), (0, 10, 11, {0: 45})]
    seen = lag.looks(typed(rows, {0: ("a", "g")}))
    assert (seen.age_ns // MS).tolist() == [0, 10, 20, 30, 0]


def test_what_waits_for_its_acknowledgement_waits_for_its_consumer_too() -> None:
    """Answers may come late, and after the message: counted from them alone nothing would have waited."""
    rows: list[Row] = [(0, 0, 50, {0: 45})]
    seen = lag.looks(typed(rows, {0: ("a", "g")}))
    assert seen.lag.tolist() == [1, 1, 1, 1, 1, 0]
    assert (seen.age_ns // MS).tolist() == [0, 10, 20, 30, 40, 0]


def test_samples_are_few_however_long_it_took_and_no_peak_is_left_out() -> None:
    rows: list[Row] = [(0, at, at + 1, {0: at + 2}) for at in range(0, 100_000, 50)]
    rows[1000] = (0, 50_000, 50_001, {0: 50_075})
    waiting, age = lag.over_time(lag.looks(typed(rows, {0: ("a", "g")})))
    assert len(waiting.samples) == len(age.samples) == lag.MOST_SAMPLES
    assert waiting.labels["every_s"] == pytest.approx(100 / lag.MOST_SAMPLES, rel=0.01)
    assert np.argmax(age.samples) == pytest.approx(lag.MOST_SAMPLES / 2, abs=1)
    assert max(age.samples) == 70.0


def test_a_history_of_nothing_waits_for_nothing() -> None:
    assert list(lag.over_time(lag.looks(History({}, {}, {}, {}, [])))) == []
