"""Deduplication: missed, wrongly applied; and what may be a repeat at all."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from brokerbench.brokers.types import Outcome
from brokerbench.scenarios.checkers import arrivals, deduplication
from brokerbench.scenarios.checkers.index import channel_index
from brokerbench.scenarios.checkers.index.channel_index import ChannelIndex
from brokerbench.scenarios.history import History
from brokerbench.scenarios.verdicts import Finding
from tests.scenarios.checkers.histories import CHANNEL, got, table

WINDOW_S = 1e-7
"""100 ns."""


def history(
    messages: Sequence[tuple[int, int, int, int]], delivered: Sequence[int], outcomes: Sequence[Outcome] | None = None
) -> ChannelIndex:
    """Messages are (identity, sent, settled, place) of one producer; ``delivered`` came at 10_000 and later."""
    fates = outcomes or [Outcome.ACKNOWLEDGED] * len(messages)
    sends = [
        {"producer": 0, "seq": seq, "key": seq, "checksum": 1000 + seq, "sent_ns": sent}
        for seq, (_, sent, _, _) in enumerate(messages)
    ]
    settled = [
        {"producer": 0, "seq": seq, "settled_ns": at, "place": place, "outcome": int(fate)}
        for seq, ((_, _, at, place), fate) in enumerate(zip(messages, fates, strict=True))
    ]
    rows = [got(seq, 10_000 + at, place=messages[seq][3]) for at, seq in enumerate(delivered)]
    marks = [
        {"event": "producer", "producer": 0, "channel": CHANNEL},
        {"event": "reader", "reader": 0, "kind": "consumer", "channel": CHANNEL, "group": "g"},
        {"event": "identities", "producer": 0, "first_seq": 0, "identities": [entry[0] for entry in messages]},
    ]
    whole = History(
        table("sends", sends),
        table("send_outcomes", settled),
        table("deliveries", rows),
        table("acknowledgements", []),
        marks,
    )
    return channel_index.of_channel(whole, CHANNEL)


def applied(of: ChannelIndex, *, drained: bool = True) -> Finding:
    return deduplication.repeats_swallowed(of, of.delivered, WINDOW_S, drained=drained)


def only_repeats(of: ChannelIndex, *, drained: bool = True) -> Finding:
    return deduplication.new_kept(of, of.delivered, WINDOW_S, drained=drained)


def lost(of: ChannelIndex) -> list[object]:
    finding = arrivals.lost(deduplication.apart(of, of.delivered, WINDOW_S), of.delivered, drained=True)
    return [offender["seq"] for offender in finding.offenders]


FIRST = (5, 1000, 1010, 0)


def test_a_swallowed_repeat_is_as_it_should_be() -> None:
    clean = history([FIRST, (5, 1020, 1030, 0), (6, 1040, 1050, 1)], [0, 2])
    assert (applied(clean).observations, applied(clean).violations) == (1, 0)
    assert (only_repeats(clean).observations, only_repeats(clean).violations) == (2, 0)
    assert lost(clean) == []
    assert arrivals.lost(clean, clean.delivered, drained=True).violations == 1
    undrained = applied(clean, drained=False)
    assert (undrained.observations, undrained.open) == (0, 1)


@pytest.mark.parametrize(("settled_ns", "sure"), [(1099, True), (1100, False)])
def test_a_repeat_counts_only_where_it_surely_arrived_within_the_window(settled_ns: int, sure: bool) -> None:
    finding = applied(history([FIRST, (5, 1050, settled_ns, 1)], [0, 1]))
    assert (finding.observations, finding.violations) == (int(sure), int(sure))
    if sure:
        (offender,) = finding.offenders
        assert (offender["seq"], offender["identity"], offender["received_ns"]) == (1, 5, 10_001)


@pytest.mark.parametrize(("sent_ns", "may_repeat"), [(1110, True), (1111, False)])
@pytest.mark.parametrize("place", [0, -1])
def test_a_message_after_the_window_is_new(sent_ns: int, may_repeat: bool, place: int) -> None:
    """Swallowed all the same: its place is that of the first, or there are no places."""
    swallowed = history([(5, 1000, 1010, place), (5, sent_ns, 1200, place)], [0])
    finding = only_repeats(swallowed)
    assert [offender["seq"] for offender in finding.offenders] == [1] * (not may_repeat)
    assert (finding.observations, finding.violations) == (2 - may_repeat, 1 - may_repeat)
    assert lost(swallowed) == [1] * (not may_repeat)
    undrained = only_repeats(swallowed, drained=False)
    assert (undrained.violations, undrained.unknown) == (0, 1 - may_repeat)


def test_a_new_message_with_the_place_of_another_was_swallowed_and_one_without_was_lost() -> None:
    wrong = history([FIRST, (6, 1020, 1030, 0)], [0])
    (offender,) = only_repeats(wrong).offenders
    assert (offender["seq"], offender["identity"], offender["place"]) == (1, 6, 0)
    for place in (1, -1):
        finding = only_repeats(history([FIRST, (6, 1020, 1030, place)], [0]))
        assert (finding.observations, finding.violations, finding.unknown) == (1, 0, 1)


def test_a_lost_original_is_lost_and_its_repeat_is_not() -> None:
    of = history([FIRST, (5, 1020, 1030, 0), (5, 1040, 1050, 0)], [])
    assert lost(of) == [0]
    assert only_repeats(of).violations == 0
    assert applied(of).observations == 0


def test_one_that_was_overtaken_on_its_way_may_be_the_repeat() -> None:
    of = history([(5, 1000, 1030, 0), (5, 1030, 1040, 0)], [1])
    assert lost(of) == []
    assert only_repeats(of).violations == 0
    in_turn = history([(5, 1000, 1029, 0), (5, 1030, 1040, 0)], [1])
    assert lost(in_turn) == [0]


def test_a_send_of_unknown_fate_counts_only_if_it_was_delivered() -> None:
    fates = [Outcome.UNKNOWN, Outcome.ACKNOWLEDGED]
    kept = history([(5, 1000, 1010, 0), (5, 1020, 1030, 1)], [1], fates)
    assert (applied(kept).observations, lost(kept), only_repeats(kept).violations) == (0, [], 0)
    retried = history([(5, 1000, 1010, 0), (5, 1020, 1030, 0)], [0], fates)
    assert (applied(retried).observations, applied(retried).violations, lost(retried)) == (1, 0, [])
    twice = history([(5, 1000, 1010, 0), (5, 1020, 1030, 1)], [0, 1], fates)
    assert applied(twice).violations == 1


def test_a_rejected_send_repeats_nothing() -> None:
    fates = [Outcome.REJECTED, Outcome.ACKNOWLEDGED]
    of = history([(5, 1000, 1010, -1), (5, 1020, 1030, -1)], [], fates)
    assert lost(of) == [1]
    assert (applied(of).observations, only_repeats(of).unknown) == (0, 1)


def test_a_window_begins_with_what_was_kept() -> None:
    """The second was swallowed; the third came after the window of the first, and is kept."""
    of = history([FIRST, (5, 1060, 1070, 0), (5, 1120, 1130, 1)], [0, 2])
    assert (applied(of).observations, applied(of).violations) == (1, 0)
    assert only_repeats(of).violations == 0
    assert lost(of) == []


def test_without_identities_everything_is_new() -> None:
    plain = history([(-1, 1000, 1010, 0), (-1, 1020, 1030, 1)], [0, 1])
    assert applied(plain).observations == 0
    assert (only_repeats(plain).observations, only_repeats(plain).violations) == (2, 0)
    empty = history([], [])
    assert applied(empty).observations == only_repeats(empty).observations == 0
