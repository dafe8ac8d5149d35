"""Repeats and losses of a history in shards: of messages that lie apart from those that they have to do with."""

from __future__ import annotations

from pathlib import Path

import pytest

from brokerbench.brokers.types import Outcome
from brokerbench.scenarios.checkers import arrivals, deduplication
from brokerbench.scenarios.checkers.findings import combined
from brokerbench.scenarios.checkers.index import channel_index
from brokerbench.scenarios.checkers.index.channel_index import ChannelIndex
from brokerbench.scenarios.checkers.sharding import reduction
from brokerbench.scenarios.checkers.sharding.deduplication import deduplicating
from brokerbench.scenarios.history import Writer, saved_history
from brokerbench.scenarios.verdicts import Finding
from tests.scenarios.checkers.histories import CHANNEL, got, sends, table

Row = dict[str, int]
NAMES = ("delivery.no_loss", "deduplication.applied", "deduplication.only_repeats")
WINDOW_S = 1e-7


def _write(directory: Path, rows: dict[str, list[Row]], identities: dict[int, int], *, drained: bool) -> None:
    with Writer(directory, "w", run=1) as writer:
        for number, channel in ((0, CHANNEL), (1, CHANNEL), (2, "other")):
            writer.mark("producer", producer=number, channel=channel)
            writer.mark("reader", reader=number, kind="consumer", channel=channel, group="g")
        for seq, identity in identities.items():
            writer.mark("identities", producer=0, first_seq=seq, identities=[identity])
        if drained:
            writer.mark("drained", channel=CHANNEL)
        for kind, its_rows in rows.items():
            writer.rows(kind, table(kind, its_rows))


def _both(directory: Path, per_shard: int) -> tuple[list[Finding], list[Finding]]:
    """Judged shard by shard, and at once: all channels together."""
    parts = reduction.reduced(
        directory, {NAMES: deduplicating(lambda part: part.delivered.to(part.consumers()), WINDOW_S)}, per_shard
    )
    history = saved_history.load(directory)
    of_channels = [_at_once(channel_index.of_channel(history, channel)) for channel in channel_index.channels(history)]
    return list(parts.values()), [
        combined(name, found) for name, found in zip(NAMES, zip(*of_channels, strict=True), strict=True)
    ]


def _at_once(whole: ChannelIndex) -> list[Finding]:
    group, drained = whole.delivered.to(whole.consumers()), whole.drained()
    return [
        arrivals.lost(deduplication.apart(whole, group, WINDOW_S), group, drained=drained),
        deduplication.repeats_swallowed(whole, group, WINDOW_S, drained=drained),
        deduplication.new_kept(whole, group, WINDOW_S, drained=drained),
    ]


@pytest.mark.parametrize("per_shard", [1, 2, 100])
@pytest.mark.parametrize(("earlier", "violations"), [(True, 1), (False, 0)])
@pytest.mark.parametrize("where", ["here", "another partition", "another channel", "nowhere"])
def test_a_new_message_that_was_told_the_place_of_another(
    tmp_path: Path, per_shard: int, earlier: bool, violations: int, where: str
) -> None:
    """Message 4 is missing, and was told the place of message 1, sent before it or after it."""
    sent, settled = sends([3, 14, 15, 92, 65])
    other_sent, other_settled = sends([35, 89], producer=2)
    sent[1]["sent_ns"], sent[4]["sent_ns"] = (1, 4) if earlier else (4, 1)
    settled[4]["place"] = {"here": 1, "another partition": 1, "another channel": 6, "nowhere": 77}[where]
    settled[4]["partition"] = 1 if where == "another partition" else 0
    other_settled[1]["place"] = 6
    rows = {
        "sends": [*sent, *other_sent],
        "send_outcomes": [*settled, *other_settled],
        "deliveries": [
            *(got(seq, 10 + seq) for seq in range(4)),
            *(got(seq, 20, 2, slot=seq, producer=2) for seq in range(2)),
        ],
    }
    _write(tmp_path, rows, {4: 5}, drained=True)
    parts, at_once = _both(tmp_path, per_shard)
    assert parts[1:] == at_once[1:]
    assert parts[2].violations == (violations if where == "here" else 0)
    assert (parts[2].observations, parts[2].unknown) == (6 + parts[2].violations, 1 - parts[2].violations)


@pytest.mark.parametrize("per_shard", [1, 100])
def test_the_first_message_does_not_take_its_own_place(tmp_path: Path, per_shard: int) -> None:
    """Message 0 is missing, and nobody else was told its place."""
    sent, settled = sends([3, 14])
    _write(tmp_path, {"sends": sent, "send_outcomes": settled, "deliveries": [got(1, 11)]}, {0: 5}, drained=True)
    parts, at_once = _both(tmp_path, per_shard)
    assert parts == at_once
    assert (parts[2].violations, parts[2].unknown) == (0, 1)


@pytest.mark.parametrize("per_shard", [1, 2, 100])
@pytest.mark.parametrize("drained", [True, False])
def test_repeats_that_lie_apart(tmp_path: Path, per_shard: int, drained: bool) -> None:
    """Of one identity: 0 kept, 3 swallowed, 5 delivered all the same. Of another: 1 alone. 2 is lost, 6 of no fate."""
    sent, settled = sends([3, 14, 15, 92, 65, 35, 89], s6=Outcome.UNKNOWN)
    rows = {
        "sends": sent,
        "send_outcomes": settled,
        "deliveries": [got(0, 10), got(1, 11), got(5, 12), got(4, 13), got(5, 14)],
    }
    _write(tmp_path, rows, {0: 7, 3: 7, 5: 7, 1: 8}, drained=drained)
    parts, at_once = _both(tmp_path, per_shard)
    assert parts[:2] == at_once[:2]
    assert parts[2] == at_once[2]
    assert [finding.violations for finding in parts] == [int(drained), 1, 0]
    assert parts[1].offenders[0]["seq"] == 5
    assert (parts[0].unknown, parts[0].open) == (2, 0 if drained else 1)
