"""Judging does not depend on how a history was cut: into files, into row groups, into shards."""

from __future__ import annotations

import gc
import tempfile
import weakref
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from brokerbench.brokers.types import Outcome
from brokerbench.scenarios.analysis import delivery
from brokerbench.scenarios.checkers import (
    arrivals,
    consistency,
    delivery_counts,
    layout,
    leases,
    order,
    order_while_waiting,
    redelivery,
)
from brokerbench.scenarios.checkers.index import channel_index
from brokerbench.scenarios.checkers.index.channel_index import ChannelIndex
from brokerbench.scenarios.checkers.sharding import reduction
from brokerbench.scenarios.checkers.sharding.shards import split
from brokerbench.scenarios.history import SCHEMAS, Action, History, Writer, saved_history
from brokerbench.scenarios.history.stamp import CORRUPT, FOREIGN, INTACT
from brokerbench.scenarios.verdicts import Finding
from tests.scenarios.checkers.histories import CHANNEL, got, sends, settle, table

_CHECKS: dict[str, reduction.Check] = {
    **reduction.OF_GROUPS,
    "ordering.per_key": lambda part: order.per_key("ordering.per_key", part, part.delivered, [0, 1]),
    "ordering.per_key.after_redelivery": lambda part: order.after_release(
        "ordering.per_key.after_redelivery", part, part.delivered, [0, 1]
    ),
    "ordering.while_waiting": lambda part: order_while_waiting.in_order(
        "ordering.while_waiting", part, part.delivered, [0, 1]
    ),
    "delivery.no_rejected": lambda part: arrivals.delivered_all_the_same(part, part.delivered),
    "delivery.count": lambda part: delivery_counts.counted(part, part.delivered, all_seen=True),
    "redelivery.not_early": lambda part: leases.not_early(part, part.delivered, 5e-9),
    "redelivery.none": lambda part: leases.in_time(part, part.delivered, 5e-9),
    "redelivery.not_late": lambda part: leases.not_late(part, part.delivered, 5e-9, 5e-9, drained=part.drained()),
    "redelivery.after_release": lambda part: redelivery.comes_back(part, part.delivered, 1e-7, drained=part.drained()),
}


EPOCH_NS = 1 << 40


@st.composite
def _rows(draw: st.DrawFn) -> dict[str, list[dict[str, int]]]:
    """Two producers, two readers, few keys; deliveries of anything, in any state, and any settlements of them."""
    sends, settled, deliveries, settles = [], [], [], []
    for producer in (0, 1):
        for seq in range(draw(st.integers(0, 8))):
            message = {"producer": producer, "seq": seq}
            sends.append({**message, "key": draw(st.integers(0, 2)), "checksum": 1000 + seq, "sent_ns": seq})
            if draw(st.integers(0, 4)):
                place = {
                    "partition": draw(st.sampled_from([producer, producer, producer, 2])),
                    "place": draw(st.sampled_from([seq, seq, seq + 1, -1])),
                }
                for _ in range(draw(st.sampled_from([1, 1, 1, 2, 3]))):
                    settled.append({**message, **place, "outcome": int(draw(st.sampled_from(list(Outcome))))})
    now = 10
    for batch in range(draw(st.integers(0, 8))):
        reader = draw(st.integers(0, 1))
        now += draw(st.integers(0, 30))
        for slot in range(draw(st.integers(1, 4))):
            producer, seq = draw(st.integers(0, 1)), draw(st.integers(-1, 9))
            where = {"reader": reader, "batch": batch, "slot": slot}
            deliveries.append(
                {
                    **where,
                    "producer": producer,
                    "seq": seq,
                    "partition": producer,
                    "place": draw(st.sampled_from([seq, -1])),
                    "checksum": 1000 + seq,
                    "broker_key": draw(st.integers(-3, 2)),
                    "broker_epoch_ns": draw(st.sampled_from([-1, EPOCH_NS + now, EPOCH_NS + 20, EPOCH_NS - (1 << 35)])),
                    "asked_ns": draw(st.sampled_from([-1, now, now - 3])),
                    "received_ns": now,
                    "delivery_count": draw(st.integers(0, 3)),
                    "status": draw(st.sampled_from([INTACT, INTACT, INTACT, CORRUPT, FOREIGN])),
                }
            )
            if draw(st.booleans()):
                action, asked_ns = draw(st.sampled_from(list(Action))), now + draw(st.integers(0, 20))
                outcome = int(draw(st.sampled_from(list(Outcome))))
                settles.append(
                    {**where, "action": action, "outcome": outcome, "asked_ns": asked_ns, "settled_ns": asked_ns + 1}
                )
    return {"sends": sends, "send_outcomes": settled, "deliveries": deliveries, "acknowledgements": settles}


def _write(directory: Path, rows: dict[str, list[dict[str, int]]], seed: int) -> None:
    """Rows in random order (of deliveries: whole batches), over three writers."""
    rng = np.random.default_rng(seed)
    writers = [Writer(directory, f"w{number}", run=1) for number in range(3)]
    for number in (0, 1):
        writers[number].mark("producer", producer=number, channel=CHANNEL)
        writers[number].mark("reader", reader=number, kind="consumer", channel=CHANNEL, group="g")
    if len(rows["sends"]) % 2:
        writers[2].mark("drained", channel=CHANNEL)
    if len(rows["sends"]) % 3:
        told = {"broker_clock": "broker append time", "broker_clock_resolution_ns": 2, "buffers_ahead": False}
        writers[2].mark("channel", channel=CHANNEL, lease_s=0.05 + 4e-8, **told)
        writers[2].mark("closing", reader=1, at_ns=60)
    # Beside all others, so that the two clocks are related as the rows have them.
    for writer in writers:
        writer.mark("related", at_epoch_ns=EPOCH_NS, at_ns=0)
    for kind in SCHEMAS:
        units: dict[tuple[int, int], list[dict[str, int]]] = {}
        for at, row in enumerate(rows[kind]):
            unit = (row["reader"], row["batch"]) if kind == "deliveries" else (at, 0)
            units.setdefault(unit, []).append(row)
        pieces = list(units.values())
        for at in rng.permutation(len(pieces)).tolist():
            writers[int(rng.integers(3))].rows(kind, table(kind, pieces[at]))
    for writer in writers:
        writer.close()


def _in_memory(directory: Path) -> list[Finding]:
    return _findings(channel_index.of_channel(saved_history.load(directory), CHANNEL))


def _findings(whole: ChannelIndex) -> list[Finding]:
    lost = arrivals.lost(whole, whole.delivered, drained=whole.drained())
    of_channel = (check(whole) for check in reduction.OF_CHANNELS.values())
    found = [lost, *(check(whole) for check in _CHECKS.values()), *of_channel, *layout.judged(whole)]
    return [consistency.or_not_told(finding) for finding in found]


@settings(max_examples=60, deadline=None)
@given(_rows(), st.integers(0, 1000), st.integers(1, 6))
def test_findings_do_not_depend_on_the_cut(rows: dict[str, list[dict[str, int]]], seed: int, shard: int) -> None:
    with tempfile.TemporaryDirectory() as one, tempfile.TemporaryDirectory() as other:
        _write(Path(one), rows, seed)
        _write(Path(other), rows, seed + 1)
        expected = _in_memory(Path(one))
        assert _in_memory(Path(other)) == expected
        assert reduction.judged(Path(one), _CHECKS, messages_per_shard=shard, by_order_group=True) == expected
        whole = channel_index.of_channel(saved_history.load(Path(one)), CHANNEL)
        assert {of.property: of for of in reduction.judged(Path(one), messages_per_shard=shard)} == {
            of.property: of for of in delivery.over([whole])
        }
        # Shards of messages in turn, which a key spans.
        in_order = "ordering.per_key"
        *_, along = reduction.judged(Path(one), messages_per_shard=shard, per_key=in_order)
        assert along == next(of for of in expected if of.property == in_order)


@settings(max_examples=60, deadline=None)
@given(_rows(), st.randoms(use_true_random=False))
def test_findings_do_not_depend_on_the_order_of_rows(rows: dict[str, list[dict[str, int]]], random: object) -> None:
    marks = [{"event": "producer", "producer": number, "channel": CHANNEL} for number in (0, 1)]
    marks += [{"event": "reader", "reader": number, "kind": "consumer", "channel": CHANNEL} for number in (0, 1)]
    found = []
    for _ in range(2):
        whole = History(*(table(kind, rows[kind]) for kind in SCHEMAS), marks=marks)  # type: ignore[arg-type,misc]
        found.append(_findings(channel_index.of_channel(whole, CHANNEL)))
        for part in rows.values():
            random.shuffle(part)  # type: ignore[attr-defined]
    assert found[0] == found[1]


def test_shards_are_removed_and_hold_every_line_whole(tmp_path: Path) -> None:
    sends = [{"producer": 0, "seq": seq, "key": seq % 5} for seq in range(50)]
    _write(tmp_path, {"sends": sends, "send_outcomes": [], "deliveries": [], "acknowledgements": []}, 1)
    before = sorted(tmp_path.iterdir())
    with split(tmp_path, 10) as shards:
        keys = [set(shard.sends["key"].tolist()) for shard in shards]
        assert sum(len(shard.sends["key"]) for shard in shards) == 50
    assert len(keys) == 5
    assert sum(len(part) for part in keys) == len(set().union(*keys)) == 5
    assert sorted(tmp_path.iterdir()) == before


def test_what_a_reader_did_in_another_shard_is_known(tmp_path: Path) -> None:
    """Reader 1 took the other key's message after the acknowledgement: so it asked for the first again after it."""
    first = got(0, 10)
    for key in range(1, 9):  # wherever a key's shard is: at least one of these is apart from key 0
        sent, settled = sends([0, key])
        rows = {
            "sends": sent,
            "send_outcomes": settled,
            "deliveries": [first, got(1, 20, reader=1), got(0, 30, reader=1)],
            "acknowledgements": [settle(first, Action.ACKNOWLEDGE, 15)],
        }
        _write(tmp_path / str(key), rows, seed=key)
        found = {finding.property: finding for finding in reduction.judged(tmp_path / str(key), messages_per_shard=1)}
        again = found["delivery.no_duplicate"]
        assert (again.violations, again.unknown) == (1, 0)


def test_a_shard_is_free_as_soon_as_it_is_judged(tmp_path: Path) -> None:
    """Without waiting for the collector of cycles: memory would hold many shards at once."""
    sent, settled = sends([0, 1])
    rows = {"sends": sent, "send_outcomes": settled, "deliveries": [got(0, 10), got(1, 20)], "acknowledgements": []}
    _write(tmp_path, rows, 1)
    whole = channel_index.of_channel(saved_history.load(tmp_path), CHANNEL)
    kept = weakref.ref(whole.delivered)
    gc.disable()
    try:
        _findings(whole)
        del whole
        assert kept() is None
    finally:
        gc.enable()


def test_a_gap_in_the_numbers_is_an_error(tmp_path: Path) -> None:
    sends = [{"producer": 0, "seq": seq} for seq in (0, 2)]
    _write(tmp_path, {"sends": sends, "send_outcomes": [], "deliveries": [], "acknowledgements": []}, 1)
    with pytest.raises(ValueError, match="without gaps"):
        reduction.judged(tmp_path)
