"""Every column of a history is judged: changed, it changes the finding of a property."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import pytest

from brokerbench.bench.selftest.checks import CHECKS
from brokerbench.bench.selftest.scripts import Script, Size, play
from brokerbench.bench.selftest.simulation import CHANNEL
from brokerbench.scenarios.checkers import order
from brokerbench.scenarios.checkers.index import channel_index
from brokerbench.scenarios.history import SCHEMAS, Action, History
from brokerbench.scenarios.verdicts import Finding
from tests.scenarios.checkers.histories import got, settle, typed

HOUR_NS = 3600 * 10**9
DELIVER, REPEAT, LAPSE = Script.DELIVER, Script.REPEAT, Script.LAPSE
METRICS = {("sends", "intended_ns")}
"""Judged by no property: latencies count from it (scenarios/metrics)."""
USED_BY = {
    ("sends", "producer"): ("delivery.no_phantom", DELIVER, 1),
    ("sends", "seq"): ("delivery.no_phantom", DELIVER, 1),
    ("sends", "key"): ("delivery.key", DELIVER, 1),
    ("sends", "size"): ("delivery.intact", DELIVER, 1),
    ("sends", "checksum"): ("delivery.intact", DELIVER, 1),
    ("sends", "sent_ns"): ("delivery.broker_time", DELIVER, HOUR_NS),
    ("send_outcomes", "producer"): ("send.settled", DELIVER, 1),
    ("send_outcomes", "seq"): ("send.settled_once", DELIVER, 1),
    ("send_outcomes", "settled_ns"): ("deduplication.only_repeats", REPEAT, -HOUR_NS),
    ("send_outcomes", "outcome"): ("delivery.no_phantom", DELIVER, 1),
    ("send_outcomes", "partition"): ("delivery.place", DELIVER, 1),
    ("send_outcomes", "place"): ("delivery.own_place", DELIVER, 1),
    ("deliveries", "reader"): ("delivery.no_loss", DELIVER, -1),
    ("deliveries", "batch"): ("redelivery.not_late", DELIVER, 1),
    ("deliveries", "slot"): ("redelivery.not_late", DELIVER, 1),
    ("deliveries", "producer"): ("delivery.no_phantom", DELIVER, 1),
    ("deliveries", "seq"): ("delivery.no_loss", DELIVER, 1),
    ("deliveries", "broker_key"): ("delivery.key", DELIVER, 1),
    ("deliveries", "partition"): ("delivery.place", DELIVER, 1),
    ("deliveries", "place"): ("delivery.place", DELIVER, 1),
    ("deliveries", "broker_epoch_ns"): ("delivery.broker_time_order", DELIVER, 7),
    ("deliveries", "asked_ns"): ("redelivery.not_early", LAPSE, HOUR_NS),
    ("deliveries", "received_ns"): ("delivery.broker_time", DELIVER, -HOUR_NS),
    ("deliveries", "delivery_count"): ("delivery.count", DELIVER, 1),
    ("deliveries", "size"): ("delivery.intact", DELIVER, 1),
    ("deliveries", "checksum"): ("delivery.intact", DELIVER, 1),
    ("deliveries", "status"): ("delivery.intact", DELIVER, 1),
    ("acknowledgements", "reader"): ("redelivery.not_late", DELIVER, 1),
    ("acknowledgements", "batch"): ("redelivery.not_late", DELIVER, 1),
    ("acknowledgements", "slot"): ("redelivery.not_late", DELIVER, 1),
    ("acknowledgements", "action"): ("redelivery.not_late", DELIVER, -1),
    ("acknowledgements", "outcome"): ("redelivery.not_late", DELIVER, 1),
    ("acknowledgements", "settled_ns"): ("redelivery.not_late", LAPSE, -HOUR_NS),
}
"""By table and column: a property that uses it, and the script and the change of a value that show it."""
WHOLE = {("deliveries", "asked_ns")}
"""Columns of which no single row decides."""
ELSEWHERE = {("acknowledgements", "asked_ns")}
"""Of two consumers at work at one time, which no script has: ``test_the_end_of_the_work_on_a_message_is_judged``."""


def test_every_column_is_used() -> None:
    columns = {(kind, name) for kind, schema in SCHEMAS.items() for name in schema.names}
    assert columns == USED_BY.keys() | METRICS | ELSEWHERE


@pytest.mark.parametrize(("kind", "name"), USED_BY, ids=[".".join(of) for of in USED_BY])
def test_a_changed_value_changes_the_finding(kind: str, name: str) -> None:
    prop, script, by = USED_BY[kind, name]
    history = _played(script)
    table = getattr(history, kind)
    changed = table[name].copy()
    rows = slice(None) if (kind, name) in WHOLE else len(changed) // 2
    changed[rows] += changed.dtype.type(by)
    other = replace(history, **{kind: {**table, name: changed}})
    assert _found(other, prop) != _found(history, prop)


def test_the_end_of_the_work_on_a_message_is_judged() -> None:
    """The second of a key goes to another consumer: too early where the first was not acknowledged by then."""
    first, second = got(0, 10), got(1, 20, reader=1)
    for asked_ns, wrong in ((15, 0), (25, 1)):
        index = typed([5, 5], [first, second], [settle(first, Action.ACKNOWLEDGE, asked_ns)])
        assert order.per_key("ordering.per_key", index, index.delivered, [0]).violations == wrong


@cache
def _played(script: Script) -> History:
    return play(script, Size(300), []).history


def _found(history: History, name: str) -> Finding | str:
    """What the check finds; sends that do not count without gaps are refused in words."""
    try:
        return CHECKS[name](channel_index.of_channel(history, CHANNEL))
    except ValueError as error:
        return str(error)
