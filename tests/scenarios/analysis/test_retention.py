"""The retention checker on hand-typed histories: what it sees, and where it is silent."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pytest

from brokerbench.brokers.types import Outcome
from brokerbench.scenarios.analysis import retention as checker
from brokerbench.scenarios.history import SCHEMAS, History
from brokerbench.scenarios.verdicts import Finding

S = 1_000_000_000
LIMIT_S = 10.0


def table(kind: str, rows: Sequence[Mapping[str, int]]) -> dict[str, Any]:
    return {
        name: np.array([row.get(name, 0) for row in rows], SCHEMAS[kind].field(name).type.to_pandas_dtype())
        for name in SCHEMAS[kind].names
    }


def build(
    marks: Sequence[Mapping[str, Any]],
    sent_s: Sequence[float] = (0, 1, 2),
    deliveries: Sequence[Mapping[str, int]] = (),
) -> History:
    sends = [{"producer": 0, "seq": i, "size": 100, "sent_ns": round(at * S)} for i, at in enumerate(sent_s)]
    settled = [
        {"producer": 0, "seq": i, "outcome": Outcome.ACKNOWLEDGED, "partition": 0, "place": i, "settled_ns": 1}
        for i in range(len(sent_s))
    ]
    return History(
        table("sends", sends),
        table("send_outcomes", settled),
        table("deliveries", deliveries),
        table("acknowledgements", []),
        marks,
    )


def unread(*looks: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    return [
        {"event": "producer", "producer": 0, "role": "unread", "channel": "c"},
        {"event": "limit", "role": "unread", "age_s": LIMIT_S, "bytes": None, "messages": None},
        *({"event": "look", "role": "unread", **look} for look in looks),
    ]


def at(seconds: float, first: int) -> dict[str, Any]:
    return {"asked_ns": round(seconds * S), "answered_ns": round((seconds + 0.01) * S), "first": {"0": first}}


def counted(seconds: float, count: int) -> dict[str, Any]:
    return {"asked_ns": round(seconds * S), "answered_ns": round(seconds * S), "count": count}


def found(history: History, name: str) -> Finding:
    return next(finding for finding in checker.examine(history).findings if finding.property == name)


def test_overshoot_is_counted_from_the_first_look_that_shows_it_gone() -> None:
    history = build(unread(at(5, 0), at(10.49, 1), at(11.99, 2), at(12.0, 3)))
    assert found(history, "retention.overshoot").samples == pytest.approx((0.01, 0.5, 1.0))
    assert found(history, "retention.by_age").violations == 0
    assert found(history, "retention.not_early").violations == 0


def test_early_removal_is_seen() -> None:
    finding = found(build(unread(at(5, 0), at(9, 2), at(13, 3))), "retention.not_early")
    assert (finding.observations, finding.violations) == (3, 2)
    assert finding.offenders[0]["seq"] == 0


def test_what_is_never_gone_is_seen() -> None:
    finding = found(build(unread(at(5, 0), at(13, 2))), "retention.by_age")
    assert (finding.observations, finding.violations) == (3, 1)
    assert finding.offenders[0]["seq"] == 2


def test_counts_stand_in_for_positions() -> None:
    history = build(unread(counted(1, 2), counted(5, 3), counted(10.5, 2), counted(12.2, 0)))
    assert found(history, "retention.overshoot").samples == pytest.approx((0.2, 0.5, 1.2))


def test_a_count_that_rises_again_takes_back_what_it_showed() -> None:
    history = build(unread(counted(5, 3), counted(6, 1), counted(7, 3), counted(12.5, 0)))
    assert found(history, "retention.not_early").violations == 0


def test_size_excess_and_refusal() -> None:
    marks = [
        {"event": "producer", "producer": 0, "role": "size", "channel": "c"},
        {"event": "limit", "role": "size", "age_s": None, "bytes": 100, "messages": None},
        {"event": "look", "role": "size", **at(1, 1)},
    ]
    history = build(marks)
    assert found(history, "retention.size_excess").samples == pytest.approx((1.0,))
    assert found(history, "retention.by_size").violations == 0
    untouched = build([*marks[:2], {"event": "look", "role": "size", **at(1, 0)}])
    assert found(untouched, "retention.by_size").violations == 1
    refused = build([{"event": "refused", "role": "size", "reason": "no size limit"}])
    assert found(refused, "retention.by_size").violations == 1
    assert found(refused, "retention.size_excess").not_testable == "no size limit"


@pytest.mark.parametrize(("seen_again", "violations"), [((), 2), ((1,), 1), ((1, 2), 0)])
def test_survivors_are_counted(seen_again: tuple[int, ...], violations: int) -> None:
    finding = survivors(seen_again, proven=True)
    assert (finding.observations, finding.violations) == (2, violations)


def test_a_look_that_saw_no_fresh_message_proves_nothing() -> None:
    finding = survivors((), proven=False)
    assert finding.observations == 0
    assert "proves nothing" in finding.not_testable


def survivors(seen_again: tuple[int, ...], *, proven: bool) -> Finding:
    marks = [
        {"event": "producer", "producer": 0, "role": "held", "channel": "c"},
        {"event": "reader", "reader": 2, "role": "held", "stage": "before"},
        {"event": "reader", "reader": 12, "role": "held", "stage": "after"},
        {"event": "looked", "role": "held", "proven": proven},
    ]
    rows = [{"reader": 2, "producer": 0, "seq": seq} for seq in (0, 1, 2)]
    rows += [{"reader": 12, "producer": 0, "seq": seq} for seq in seen_again]
    return found(build(marks, deliveries=rows), "retention.unacknowledged_survives")


def test_nothing_watched_is_not_a_finding() -> None:
    for finding in checker.examine(build([])).findings:
        assert finding.not_testable, finding.property


def lagging(lag_s: float | None, marks: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    return [{**mark, "lag_s": lag_s} if mark["event"] == "limit" else mark for mark in marks]


@pytest.mark.parametrize(("lag_s", "violations", "open_cases"), [(0.0, 1, 0), (5.0, 1, 0), (5.1, 0, 1), (None, 0, 1)])
def test_what_the_broker_may_keep_for_longer_is_an_open_case(
    lag_s: float | None, violations: int, open_cases: int
) -> None:
    # The last was sent at 2 s: its limit ends at 12 s, and the last look was answered at 17.01 s.
    history = build(lagging(lag_s, unread(at(5, 0), at(17, 2))))
    finding = found(history, "retention.by_age")
    assert (finding.observations, finding.violations, finding.open) == (2 + violations, violations, open_cases)
    assert len(found(history, "retention.overshoot").samples) == (2 if violations else 0)
    assert len(finding.offenders) == violations
    assert ("grace_s" in finding.note) is (lag_s == 5.1)
    assert ("does not tell" in finding.note) is (lag_s is None)


@pytest.mark.parametrize("lag_s", [300.0, None])
def test_what_is_gone_in_time_is_judged_whatever_the_settings(lag_s: float | None) -> None:
    history = build(lagging(lag_s, unread(at(5, 0), at(13, 3))))
    finding = found(history, "retention.by_age")
    assert (finding.observations, finding.violations, finding.open) == (3, 0, 0)
    assert len(found(history, "retention.overshoot").samples) == 3


@pytest.mark.parametrize(("lag_s", "judged"), [(4.0, True), (6.0, False), (None, False)])
def test_a_size_is_judged_when_the_broker_had_time_to_cut(lag_s: float | None, judged: bool) -> None:
    marks: list[Mapping[str, Any]] = [
        {"event": "producer", "producer": 0, "role": "size", "channel": "c"},
        {"event": "limit", "role": "size", "age_s": None, "bytes": 100, "messages": None},
        {"event": "look", "role": "size", **at(7, 0)},
    ]
    history = build(lagging(lag_s, marks))
    by_size = found(history, "retention.by_size")
    assert (by_size.observations, by_size.violations, by_size.open) == ((1, 1, 0) if judged else (0, 0, 1))
    assert len(found(history, "retention.size_excess").samples) == judged


@pytest.mark.parametrize(("lag_s", "survived", "open_cases"), [(3.0, 1, 0), (30.0, 0, 1), (None, 0, 1)])
def test_a_survivor_counts_when_the_broker_had_time_to_remove_it(
    lag_s: float | None, survived: int, open_cases: int
) -> None:
    marks: list[Mapping[str, Any]] = [
        *unread(at(5, 0), at(16, 2)),
        {"event": "reader", "reader": 1, "role": "unread", "stage": "after"},
        {"event": "looked", "role": "unread", "proven": True, "at_ns": 17 * S},
    ]
    history = build(lagging(lag_s, marks), deliveries=[{"reader": 1, "producer": 0, "seq": 2}])
    finding = found(history, "retention.unread_survives")
    assert (finding.observations - finding.violations, finding.open) == (survived, open_cases)
