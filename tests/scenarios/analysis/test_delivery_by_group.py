"""Several groups read a channel: each must get everything, once, and is judged by itself."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from brokerbench.scenarios.analysis import delivery
from brokerbench.scenarios.checkers import arrivals
from brokerbench.scenarios.checkers.sharding import reduction
from brokerbench.scenarios.history import Action, History, Writer, saved_history
from brokerbench.scenarios.history.stamp import CORRUPT
from brokerbench.scenarios.verdicts import Finding
from tests.scenarios.checkers.histories import CHANNEL, got, producer, reader, sends, settle, table

MARKS: list[dict[str, Any]] = [
    producer(0),
    *(reader(number, group=group) for number, group in enumerate(("one", "one", "other"))),
    *({"event": "drained", "channel": CHANNEL, "group": group, "at_ns": 90} for group in ("one", "other")),
]
EACH = [got(0, 10), got(1, 11, reader=1), got(0, 20, reader=2), got(1, 21, reader=2)]


def judged(
    directory: Path, deliveries: list[dict[str, int]], marks: list[dict[str, Any]] = MARKS
) -> dict[str, Finding]:
    """What all of it in memory shows, which is also what is shown shard by shard."""
    sent, settled = sends([1, 1])
    settles = [settle(each, Action.ACKNOWLEDGE, each["received_ns"] + 1) for each in deliveries]
    rows = {"sends": sent, "send_outcomes": settled, "deliveries": deliveries, "acknowledgements": settles}
    tables = [table(kind, each) for kind, each in rows.items()]
    found = delivery.findings(History(*tables, marks=marks))
    with Writer(directory, "w", run=1) as writer:
        for kind, columns in zip(rows, tables, strict=True):
            writer.rows(kind, columns)
        for mark in marks:
            writer.mark(**mark)
    by_name = {finding.property: finding for finding in found}
    assert {finding.property: finding for finding in reduction.judged(directory, messages_per_shard=1)} == by_name
    assert delivery.findings(saved_history.load(directory)) == found
    return by_name


def test_a_message_that_came_once_to_each_group_came_once(tmp_path: Path) -> None:
    found = judged(tmp_path, EACH)
    assert [finding.violations for finding in found.values()] == [0] * len(delivery.PROPERTIES)
    assert found["delivery.no_loss"].observations == 4, "two messages to two groups"
    assert found["delivery.no_duplicate"].observations == 4


def test_a_message_lost_for_one_group_is_lost(tmp_path: Path) -> None:
    lost = judged(tmp_path, EACH[:-1])["delivery.no_loss"]
    assert (lost.observations, lost.violations) == (4, 1)
    assert (lost.offenders[0]["group"], lost.offenders[0]["seq"]) == ("other", 1)


def test_a_group_that_got_nothing_lost_everything(tmp_path: Path) -> None:
    assert judged(tmp_path, EACH[:2])["delivery.no_loss"].violations == 2


def test_twice_to_one_group_is_a_duplicate(tmp_path: Path) -> None:
    again = judged(tmp_path, [*EACH, got(1, 40, reader=2)])["delivery.no_duplicate"]
    assert (again.observations, again.violations) == (4, 1)
    assert (again.offenders[0]["group"], again.offenders[0]["received_ns"]) == ("other", 40)


def test_damage_in_one_group_is_corruption_there(tmp_path: Path) -> None:
    found = judged(tmp_path, [*EACH[:-1], {**EACH[-1], "status": CORRUPT}])
    assert (found["delivery.intact"].observations, found["delivery.intact"].violations) == (4, 1)
    assert found["delivery.intact"].offenders[0]["group"] == "other"
    assert not found["delivery.no_loss"].violations


def test_a_group_whose_drain_was_not_proven_lost_nothing_for_certain(tmp_path: Path) -> None:
    lost = judged(tmp_path, EACH[:-1], MARKS[:-1])["delivery.no_loss"]
    assert (lost.observations, lost.violations, lost.open) == (3, 0, 1)


def test_groups_together_where_they_are_not_judged_by_themselves(tmp_path: Path) -> None:
    judged(tmp_path, EACH)
    again = reduction.adding(lambda part: arrivals.delivered_again(part, part.delivered))
    together = reduction.reduced(tmp_path, {"again": again})["again"]
    assert (together.observations, together.violations, together.unknown) == (2, 1, 1)
    apart = reduction.reduced(tmp_path, {"again": again}, each_group=True)["again"]
    assert (apart.observations, apart.violations, apart.unknown) == (4, 0, 0)
