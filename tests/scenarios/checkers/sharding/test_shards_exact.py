"""Where each row of a history goes when it is cut, against dictionaries: stretches of few rows, several channels."""

from __future__ import annotations

import shutil
from collections import namedtuple
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from brokerbench.brokers.types import Outcome
from brokerbench.scenarios.checkers import arrivals
from brokerbench.scenarios.checkers.index.channel_index import ChannelIndex
from brokerbench.scenarios.checkers.sharding import reduction
from brokerbench.scenarios.checkers.sharding.shards import FIELDS, _Sharder, split
from brokerbench.scenarios.history import SCHEMAS, Action, History, Writer, saved_history
from brokerbench.scenarios.history.stamp import CORRUPT, FOREIGN, INTACT
from brokerbench.scenarios.verdicts import Finding
from tests.scenarios.checkers.histories import CHANNEL, got, sends, settle, table

Row = dict[str, int]
CHANNEL_OF = {0: "a", 1: "a", 2: "b"}
"""Producers and readers have the same numbers here; a fourth of each has no mark."""


def drawn(seed: int) -> dict[str, list[Row]]:
    """Everything at random, damaged and unknown rows among it; batches stand whole, slot 0 first."""
    rng = np.random.default_rng(seed)

    def one(*values: int) -> int:
        return int(rng.choice(values))

    sent, settled, deliveries, settles = [], [], [], []
    for producer in (0, 1, 2, 3):
        for seq in range(one(0, 3, 9)):
            message = {"producer": producer, "seq": seq}
            sent.append({**message, "key": one(-1, 0, 1, 2, 3), "sent_ns": one(5, 50, 500) + seq, "checksum": seq})
            if one(0, 1, 2):
                settled.append({**message, "partition": one(0, 1), "place": one(-1, seq, seq + 1), "settled_ns": seq})
    settled.append({"producer": 0, "seq": 99, "place": 1})
    settled.append({"producer": 7, "seq": 0, "place": 1})
    now = 10
    for batch in rng.permutation(9).tolist():
        reader = one(0, 1, 2, 3)
        now += one(-4, 0, 3)
        for slot in range(one(1, 2, 5)):
            where = {"reader": reader, "batch": batch, "slot": slot}
            stamped = {"producer": one(0, 1, 2, 3, 7), "seq": one(-1, 0, 1, 2, 5, 8)}
            spot = {"partition": one(0, 1), "place": one(-1, 0, 1, 2, 3)}
            status = one(INTACT, INTACT, INTACT, CORRUPT, FOREIGN)
            deliveries.append({**where, **stamped, **spot, "received_ns": now, "status": status})
            settles.append({**where, "slot": slot + one(0, 0, 0, 9), "asked_ns": now, "settled_ns": now + one(1, 1, 7)})
    settles += [{"reader": reader, "batch": batch, "settled_ns": 1000} for reader in (0, 1, 2) for batch in (9, 77)]
    settles += [{"reader": 8, "batch": 0, "settled_ns": 5}]
    return {"sends": sent, "send_outcomes": settled, "deliveries": deliveries, "acknowledgements": settles}


def write(directory: Path, rows: dict[str, list[Row]]) -> None:
    """The first and the second half of each table in files of their own; deliveries split between batches."""
    for half in (0, 1):
        with Writer(directory, f"w{half}", run=1) as writer:
            for number, channel in CHANNEL_OF.items():
                if number % 2 == half:
                    writer.mark("producer", producer=number, channel=channel)
                    writer.mark("reader", reader=number, kind="consumer", channel=channel, group="g")
            for kind, its_rows in rows.items():
                middle = len(its_rows) // 2
                if kind == "deliveries":
                    middle = next((at for at in range(middle, len(its_rows)) if not its_rows[at]["slot"]), middle)
                part = its_rows[middle:] if half else its_rows[:middle]
                if part:
                    writer.rows(kind, table(kind, part))


def as_rows(whole: History, kind: str) -> list[tuple[int, ...]]:
    columns = getattr(whole, kind)
    return list(zip(*(columns[name].tolist() for name in FIELDS[kind]), strict=True))


def named(whole: History, kind: str) -> list[Row]:
    return [dict(zip(FIELDS[kind], row, strict=True)) for row in as_rows(whole, kind)]


def where_rows_belong(whole: History, owners: dict[tuple[int, int], int]) -> dict[str, list[int]]:
    """By table, the shard of each row; -1 for those that belong nowhere."""
    ids = sorted(owners)
    damaged_places = {row["place"] for row in named(whole, "deliveries") if row["status"] != INTACT} - {-1}
    told: dict[tuple[str, int, int], tuple[int, int]] = {}
    for row in named(whole, "send_outcomes"):
        message = (row["producer"], row["seq"])
        spot = (CHANNEL_OF.get(row["producer"], ""), row["partition"], row["place"])
        if message in owners and row["place"] in damaged_places:
            told[spot] = min(message, told.get(spot, message), key=ids.index)
    shown: dict[tuple[str, int, int], tuple[tuple[int, ...], tuple[int, int]]] = {}
    for row in named(whole, "deliveries"):
        message, channel = (row["producer"], row["seq"]), CHANNEL_OF.get(row["reader"], "")
        if row["status"] == INTACT and message in owners and CHANNEL_OF.get(row["producer"]) == channel:
            when = tuple(row[name] for name in ("received_ns", "reader", "batch", "slot"))
            spot = (channel, row["partition"], row["place"])
            shown[spot] = max((when, message), shown.get(spot, ((), (-1, -1))))
    places: dict[tuple[int, int, int], int] = {}
    deliveries = []
    for row in named(whole, "deliveries"):
        spot = (CHANNEL_OF.get(row["reader"], ""), row["partition"], row["place"])
        if row["status"] == INTACT:
            shard = owners.get((row["producer"], row["seq"]), 0)
        elif row["place"] == -1:
            shard = 0
        elif spot in told:
            shard = owners[told[spot]]
        else:
            shard = owners[shown[spot][1]] if spot in shown else 0
        deliveries.append(shard)
        places[row["reader"], row["batch"], row["slot"]] = shard
    return {
        "sends": [owners[row["producer"], row["seq"]] for row in named(whole, "sends")],
        "send_outcomes": [owners.get((row["producer"], row["seq"]), -1) for row in named(whole, "send_outcomes")],
        "deliveries": deliveries,
        "acknowledgements": [
            places.get((row["reader"], row["batch"], row["slot"]), -1) for row in named(whole, "acknowledgements")
        ],
    }


@pytest.mark.parametrize("seed", range(24))
def test_every_row_goes_where_it_belongs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: int) -> None:
    monkeypatch.setattr(saved_history, "_ROWS_PER_STRETCH", 1000 if seed % 3 == 0 else 4)
    write(tmp_path, drawn(seed))
    whole = saved_history.load(tmp_path)
    with split(tmp_path, 6) as shards:
        parts = list(shards)
        everything = shards.whole
    owners = {
        (row["producer"], row["seq"]): number for number, part in enumerate(parts) for row in named(part, "sends")
    }
    assert len(owners) == len(whole.sends["seq"])
    belongs = where_rows_belong(whole, owners)
    for kind in SCHEMAS:
        rows = as_rows(whole, kind)
        for number, part in enumerate(parts):
            mine = [row for row, shard in zip(rows, belongs[kind], strict=True) if shard == number]
            found = as_rows(part, kind)
            if (
                kind == "acknowledgements"
            ):  # one of a batch that is not lies nowhere, one of a slot that is not may lie anywhere
                assert not any(row["batch"] in (9, 77) or row["reader"] == 8 for row in named(part, kind))
                theirs = {row[:3] for row, shard in zip(rows, belongs[kind], strict=True) if shard < 0}
                found = [row for row in found if row[:3] not in theirs]
            assert sorted(found) == sorted(mine), kind
            # What is intact keeps its order: damaged deliveries come after the others.
            if kind != "deliveries":
                assert found == mine
    last_sent = {
        row["producer"]: row["sent_ns"] for row in sorted(named(whole, "sends"), key=lambda row: row["sent_ns"])
    }
    assert everything.last_sent_ns == last_sent
    done: dict[int, set[int]] = {}
    for row in named(whole, "deliveries"):
        done.setdefault(row["reader"], set()).add(row["received_ns"])
    for row in named(whole, "acknowledgements"):
        done.setdefault(row["reader"], set()).add(row["settled_ns"])
    assert {reader: times.tolist() for reader, times in everything.events_ns.items()} == {
        reader: sorted(times) for reader, times in done.items()
    }


def lines_apart(count: int) -> list[int]:
    """Keys of producer 0 that lie in different ones of that many shards: the first of shard 0, of shard 1, ..."""
    found: dict[int, int] = {}
    for key in range(1000):
        found.setdefault(((key * 0x9E3779B97F4A7C15 % 2**64 >> 40) * count) >> 24, key)
    return [found[shard] for shard in range(count)]


@pytest.mark.parametrize("late_first", [False, True])
def test_damage_goes_with_the_last_delivery_from_its_place(tmp_path: Path, late_first: bool) -> None:
    """The last by time, wherever its row stands; the sender was told no places."""
    sent, settled = sends(lines_apart(2))
    for row in settled:
        row.update(place=-1)
    intact = [got(1, 20, place=7), got(0, 30, place=7)] if late_first else [got(0, 30, place=7), got(1, 20, place=7)]
    rows = {"sends": sent, "send_outcomes": settled, "deliveries": [*intact, got(-1, 40, place=7, status=CORRUPT)]}
    write_all(tmp_path, rows)
    with split(tmp_path, 2) as shards:
        assert [len(part.deliveries["seq"]) for part in shards] == [2, 1]
    for row in intact:
        row["received_ns"] = 50 - row["received_ns"]
    write_all(tmp_path / "turned", rows)
    with split(tmp_path / "turned", 2) as shards:
        assert [len(part.deliveries["seq"]) for part in shards] == [1, 2]


def write_all(directory: Path, rows: dict[str, list[Row]]) -> None:
    with Writer(directory, "w", run=1) as writer:
        writer.mark("producer", producer=0, channel=CHANNEL)
        writer.mark("reader", reader=0, kind="consumer", channel=CHANNEL, group="g")
        for kind, its_rows in rows.items():
            writer.rows(kind, table(kind, its_rows))


def test_every_answer_is_an_event_of_its_reader(tmp_path: Path) -> None:
    sent, settled = sends([1, 1, 1])
    rows = [got(seq, 10, batch=0, slot=seq) for seq in range(3)]
    settles = [settle(row, Action.ACKNOWLEDGE, asked_ns) for row, asked_ns in zip(rows, (20, 21, 22), strict=True)]
    write_all(tmp_path, {"sends": sent, "send_outcomes": settled, "deliveries": rows, "acknowledgements": settles})
    with split(tmp_path) as shards:
        assert {reader: times.tolist() for reader, times in shards.whole.events_ns.items()} == {0: [10, 21, 22, 23]}


def test_settlements_of_large_numbers_find_their_deliveries(tmp_path: Path) -> None:
    """Floating point would not tell these readers' batches apart."""
    sent, settled = sends(lines_apart(2))
    rows = [got(seq, 10 + seq, reader=2**30, batch=2**30 + seq) for seq in (0, 1)]
    settles = [settle(row, Action.ACKNOWLEDGE, 20) for row in reversed(rows)]
    write_all(tmp_path, {"sends": sent, "send_outcomes": settled, "deliveries": rows, "acknowledgements": settles})
    with split(tmp_path, 1) as shards:
        assert [part.acknowledgements["batch"].tolist() for part in shards] == [[2**30], [2**30 + 1]]


def test_settlements_of_what_was_never_delivered_lie_nowhere(tmp_path: Path) -> None:
    sent, settled = sends([1])
    write_all(
        tmp_path,
        {"sends": sent, "send_outcomes": settled, "acknowledgements": [settle(got(0, 10), Action.ACKNOWLEDGE, 20)]},
    )
    with split(tmp_path) as shards:
        (part,) = shards
        assert len(part.acknowledgements["slot"]) == 0
        assert shards.whole.last_sent_ns == {0: 0}
        assert {reader: times.tolist() for reader, times in shards.whole.events_ns.items()} == {0: [21]}


def test_many_rows_keep_their_order(tmp_path: Path) -> None:
    sent, settled = sends([seq % 7 for seq in range(500)])
    write_all(tmp_path, {"sends": sent, "send_outcomes": settled, "deliveries": [got(0, 9)]})
    with split(tmp_path, 100) as shards:
        for part in shards:
            for kind in ("sends", "send_outcomes"):
                assert getattr(part, kind)["seq"].tolist() == sorted(getattr(part, kind)["seq"].tolist())


def in_one_file(directory: Path, kind: str, rows: Sequence[Row]) -> Path:
    with Writer(directory, "w", run=1) as writer:
        writer.mark("producer", producer=0, channel=CHANNEL)
        writer.mark("reader", reader=0, kind="consumer", channel=CHANNEL)
        writer.rows(kind, table(kind, rows))
    return directory


@pytest.mark.parametrize(
    ("rows", "per_shard", "count"), [(1, 5, 1), (5, 5, 1), (6, 5, 2), (10, 5, 2), (11, 5, 3), (300, 1, 255)]
)
def test_as_many_shards_as_are_needed(tmp_path: Path, rows: int, per_shard: int, count: int) -> None:
    sent = [{"producer": 0, "seq": seq} for seq in range(rows)]
    with split(in_one_file(tmp_path / "sends", "sends", sent), per_shard) as shards:
        assert (shards.count, len(list(shards))) == (count, count)
    got_them = [{"reader": 0, "batch": 0, "slot": slot, "seq": slot} for slot in range(rows)]
    with split(in_one_file(tmp_path / "deliveries", "deliveries", got_them), per_shard) as shards:
        assert shards.count == count


@pytest.mark.parametrize("keys", [(-1,), (7,), (1, 2)])
def test_without_lines_shards_are_alike_whatever_the_keys(tmp_path: Path, keys: tuple[int, ...]) -> None:
    sent = [{"producer": at % 2, "seq": at // 2, "key": keys[at % len(keys)]} for at in range(100)]
    in_one_file(tmp_path, "sends", sent)
    with split(tmp_path, 10, by_order_group=False) as shards:
        parts = [list(zip(part.sends["producer"].tolist(), part.sends["seq"].tolist(), strict=True)) for part in shards]
    assert [len(part) for part in parts] == [10] * 10
    assert [message for part in parts for message in part] == sorted((at % 2, at // 2) for at in range(100))


def test_messages_alone_are_judged_in_shards_that_are_alike(tmp_path: Path) -> None:
    in_one_file(tmp_path, "sends", [{"producer": 0, "seq": seq, "key": -1} for seq in range(30)])
    sizes: list[int] = []

    def check(part: ChannelIndex) -> Finding:
        sizes.append(len(part.sent))
        return Finding("p", 1)

    reduction.judged(tmp_path, {"p": check}, messages_per_shard=10)
    assert sizes == [10, 10, 10]
    sizes.clear()
    reduction.judged(tmp_path, {"p": check}, messages_per_shard=10, by_order_group=True)
    assert sorted(sizes) == [0, 0, 30]


def test_shards_are_gone_with_their_process(tmp_path: Path) -> None:
    """No name leads to them, so that nobody has to remove them."""
    in_one_file(tmp_path, "sends", [{"producer": 0, "seq": 0}])
    before = sorted(path.name for path in tmp_path.iterdir())
    with split(tmp_path) as shards:
        assert len(list(shards)) == 1
        assert sorted(path.name for path in tmp_path.iterdir()) == before


def test_an_empty_history_is_one_empty_shard(tmp_path: Path) -> None:
    with split(tmp_path) as shards:
        (part,) = shards
        assert all(
            len(getattr(part, kind)["outcome" if "outcome" in SCHEMAS[kind].names else "producer"]) == 0
            for kind in SCHEMAS
        )
        assert (shards.whole.last_sent_ns, shards.whole.events_ns) == ({}, {})
    assert reduction.judged(tmp_path)[0] == Finding("delivery.no_loss", not_testable="nothing was observed")


def test_what_does_not_fit_on_the_disk_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    in_one_file(tmp_path, "sends", [{"producer": 0, "seq": seq} for seq in range(3)])
    needed = 3 * sum(dtype.itemsize for dtype in FIELDS["sends"].values())
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(0, 0, needed))
    with split(tmp_path):
        pass
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(0, 0, needed - 1))
    with pytest.raises(OSError, match=r"needs 0\.0 GB of disk beside it, 0\.0 GB are free"), split(tmp_path):
        pass


@pytest.mark.parametrize(
    "messages", [[(0, 1)], [(0, 0), (0, 0)], [(0, 0), (0, 2)], [(0, -1), (0, 0)], [(1, 0), (1, 0), (0, 0)]]
)
def test_numbers_with_gaps_are_an_error(tmp_path: Path, messages: list[tuple[int, int]]) -> None:
    in_one_file(tmp_path, "sends", [{"producer": producer, "seq": seq} for producer, seq in messages])
    with (
        pytest.raises(ValueError, match=r"^the sends of a history are not numbered from 0 without gaps$"),
        split(tmp_path),
    ):
        pass


@pytest.mark.parametrize("stretch", [1, 2, 3, 100])
@pytest.mark.parametrize(
    ("rows", "right"),
    [
        ([(0, 0, 0), (0, 0, 1), (0, 0, 2), (1, 0, 0), (1, 0, 1), (0, 1, 0)], True),
        ([(0, 0, 1)], False),
        ([(0, 0, 0), (0, 0, 2)], False),
        ([(0, 0, 0), (0, 0, 1), (0, 0, 1)], False),
        ([(0, 0, 0), (0, 1, 1)], False),
        ([(0, 0, 0), (1, 0, 1)], False),
        ([(0, 0, 0), (0, 0, 1), (0, 1, 0), (0, 0, 2)], False),
    ],
)
def test_batches_stand_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rows: list[tuple[int, int, int]], right: bool, stretch: int
) -> None:
    monkeypatch.setattr(saved_history, "_ROWS_PER_STRETCH", stretch)
    names = ("reader", "batch", "slot")
    in_one_file(tmp_path, "deliveries", [dict(zip(names, row, strict=True)) for row in rows])
    if right:
        with split(tmp_path) as shards:
            assert as_rows(next(iter(shards)), "deliveries") == as_rows(saved_history.load(tmp_path), "deliveries")
        return
    wrong = r"^the deliveries of a history do not stand in batches, slot 0 first$"
    with pytest.raises(ValueError, match=wrong), split(tmp_path):
        pass


def test_lines_are_spread_as_whole_numbers_would_be(tmp_path: Path) -> None:
    """NumPy's 64 bits wrap like the remainder of whole numbers; shards get about as many lines each."""
    with split(tmp_path) as shards:
        spool = shards.spool
    for count in (1, 7, 255):
        sharder = _Sharder(tmp_path, spool, count, [], by_order_group=True)
        rng = np.random.default_rng(count)
        producer, key = rng.integers(0, 2**20, 3000), rng.integers(-(2**63), 2**63 - 1, 3000)
        plain = [
            ((((k + (p << 48)) * 0x9E3779B97F4A7C15) % 2**64 >> 40) * count) >> 24
            for p, k in zip(producer.tolist(), key.tolist(), strict=True)
        ]
        assert sharder._shards_of_order_groups(producer, key).tolist() == plain
        for lines in ((np.zeros(3000, np.int64), np.arange(3000)), (np.arange(3000), np.zeros(3000, np.int64))):
            held = np.bincount(sharder._shards_of_order_groups(*lines), minlength=count)
            assert len(held) == count
            assert held.max() < 3 * 3000 / count


def test_loss_of_several_channels_is_weighed_channel_by_channel(tmp_path: Path) -> None:
    """Channel ``a`` was drained and lost one; an unidentified delivery of channel ``b`` does not excuse it."""
    (sent, settled), (other, other_settled) = sends([1, 2, 3]), sends([1, 2], producer=1)
    strays = [got(-1, 50, reader=1, place=-1, status=FOREIGN)]
    rows = {
        "sends": [*sent, *other],
        "send_outcomes": [*settled, *other_settled],
        "deliveries": [got(0, 10), got(2, 11), got(0, 12, reader=1, producer=1), *strays],
        "acknowledgements": [],
    }
    with Writer(tmp_path, "w", run=1) as writer:
        for number, channel in ((0, "a"), (1, "b")):
            writer.mark("producer", producer=number, channel=channel)
            writer.mark("reader", reader=number, kind="consumer", channel=channel, group="g")
        writer.mark("drained", channel="a")
        for kind, its_rows in rows.items():
            if its_rows:
                writer.rows(kind, table(kind, its_rows))
    for per_shard in (1, 2, 100):
        lost, intact, again, phantom, *_ = reduction.judged(tmp_path, messages_per_shard=per_shard)
        assert lost == Finding(
            "delivery.no_loss",
            observations=4,
            violations=1,
            open=1,
            offenders=({"producer": 0, "seq": 1, "key": 2, "partition": 0, "place": 1},),
            remarks=("after a proven drain", "not drained: looked for only as far as was read"),
        )
        assert (intact.property, intact.observations, intact.violations) == ("delivery.intact", 3, 0)
        assert (again.property, again.observations) == ("delivery.no_duplicate", 0)
        assert (phantom.property, phantom.observations, phantom.violations) == ("delivery.no_phantom", 4, 1)
        assert phantom.note == (
            "0 never sent, 0 rejected and delivered all the same; 1 never sent, 0 rejected and delivered all the same"
        )
    only = reduction.judged(tmp_path, {"p": lambda part: Finding("p", len(part.delivered))}, messages_per_shard=1)
    assert only[:2] == [lost, Finding("p", 4)]
    for per_shard, count in ((1, 5), (2, 3), (5, 1)):
        seen: list[Finding] = []

        def check(part: ChannelIndex, seen: list[Finding] = seen) -> Finding:
            seen.append(Finding("p", len(part.delivered)))
            return seen[-1]

        reduction.judged(tmp_path, {"p": check}, messages_per_shard=per_shard)
        assert len(seen) == 2 * count


def test_a_shard_is_searched_after_its_channel_s_drain_alone(tmp_path: Path) -> None:
    sent, settled = sends([1, 2], s1=Outcome.UNKNOWN)
    rows = {
        "sends": sent,
        "send_outcomes": settled,
        "deliveries": [got(0, 10)],
        "acknowledgements": [settle(got(0, 10), Action.ACKNOWLEDGE, 12)],
    }
    with Writer(tmp_path, "w", run=1) as writer:
        writer.mark("producer", producer=0, channel=CHANNEL)
        writer.mark("reader", reader=0, kind="consumer", channel=CHANNEL, group="g")
        for kind, its_rows in rows.items():
            writer.rows(kind, table(kind, its_rows))
    lost = reduction.judged(tmp_path)[0]
    assert lost == arrivals.claimed([arrivals.Search(1, 0, 1, 0, 0, ())], drained=False)
