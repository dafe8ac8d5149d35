"""Order: by first delivery, by processing across consumers, and after a release."""

from __future__ import annotations

from brokerbench.brokers.types import Outcome
from brokerbench.scenarios.checkers import order, redelivery
from brokerbench.scenarios.checkers.index.channel_index import ChannelIndex, Delivered
from brokerbench.scenarios.history import Action
from brokerbench.scenarios.verdicts import Finding
from tests.scenarios.checkers.histories import got, settle, typed

ACK, RELEASE = Action.ACKNOWLEDGE, Action.RELEASE


def per_key(index: ChannelIndex) -> Finding:
    return order.per_key("ordering.per_key.one_consumer", index, index.delivered, [0])


def whole(index: ChannelIndex) -> Finding:
    return order.whole_channel("ordering.channel", index, index.delivered, [0])


def after_release(index: ChannelIndex) -> Finding:
    return order.after_release("ordering.per_key.after_redelivery", index, index.delivered, [0])


def test_keys_may_overtake_each_other_but_not_within() -> None:
    index = typed([1, 2, 1, 2], [got(1, 10), got(3, 11), got(0, 12), got(2, 13)])
    assert (per_key(index).observations, per_key(index).violations) == (2, 0)
    assert (whole(index).observations, whole(index).violations) == (3, 2)


def test_order_within_a_partition_is_that_of_sending_whatever_the_key() -> None:
    """Messages 0 and 2 came from partition 0, messages 1 and 3 from partition 1."""
    deliveries = [got(seq, 10 + at, partition=seq % 2) for at, seq in enumerate((1, 0, 3, 2))]
    finding = order.per_partition("ordering.partition", *_parts(typed([1, 2, 3, 4], deliveries)))
    assert (finding.observations, finding.violations) == (2, 0)
    deliveries = [got(seq, 10 + at, partition=seq % 2) for at, seq in enumerate((2, 1, 0, 3))]
    index = typed([1, 2, 3, 4], deliveries)
    finding = order.per_partition("ordering.partition", *_parts(index))
    assert (finding.observations, finding.violations) == (2, 1)
    assert (finding.offenders[0]["seq"], finding.offenders[0]["received_ns"]) == (0, 12)
    assert not per_key(index).violations


def _parts(index: ChannelIndex) -> tuple[ChannelIndex, Delivered, list[int]]:
    return index, index.delivered, [0]


def test_an_inversion_within_a_batch_is_seen_and_named() -> None:
    index = typed([1, 1], [got(1, 10, batch=0, slot=0), got(0, 10, batch=0, slot=1)])
    finding = per_key(index)
    assert (finding.observations, finding.violations) == (1, 1)
    assert finding.offenders[0]["seq"] == 0
    assert finding.offenders[0]["kind"] == "overtaken"
    by = finding.offenders[0]["overtaken_by"]
    assert isinstance(by, dict)
    assert by["seq"] == 1


def test_only_first_deliveries_count() -> None:
    index = typed([1, 1], [got(0, 10), got(1, 11), got(0, 12)])
    assert not per_key(index).violations


def test_sends_of_unknown_fate_are_left_out() -> None:
    index = typed([1, 1, 1], [got(1, 10), got(0, 11), got(2, 12)], s1=Outcome.UNKNOWN)
    finding = per_key(index)
    assert (finding.observations, finding.violations, finding.unknown) == (1, 0, 1)


def test_both_in_process_at_once_is_a_violation_across_consumers() -> None:
    deliveries = [got(0, 10, reader=0), got(1, 20, reader=1)]
    overlapping = typed([1, 1], deliveries, [settle(deliveries[0], ACK, 21)])
    assert per_key(overlapping).violations == 1
    assert per_key(overlapping).offenders[0]["kind"] == "overlapping"
    one_after_the_other = typed([1, 1], deliveries, [settle(deliveries[0], ACK, 19)])
    assert not per_key(one_after_the_other).violations


def test_a_consumer_that_died_is_done_when_its_message_comes_again() -> None:
    died, again, later = got(0, 10), got(0, 30, reader=1), got(1, 40, reader=2)
    settles = [settle(again, ACK, 35), settle(later, ACK, 45)]
    assert per_key(typed([1, 1], [died, again, later], settles)).violations == 0
    before = got(1, 20, reader=2)
    assert per_key(typed([1, 1], [died, before, again], [settle(before, ACK, 25), settle(again, ACK, 35)])).violations


def test_a_rejected_message_is_done() -> None:
    poison, later = got(0, 10), got(1, 30, reader=1)
    settles = [settle(poison, Action.REJECT, 20), settle(later, ACK, 35)]
    assert per_key(typed([1, 1], [poison, later], settles)).violations == 0


def test_one_consumer_may_have_both_at_once() -> None:
    index = typed([1, 1], [got(0, 10, batch=0, slot=0), got(1, 10, batch=0, slot=1)])
    assert not per_key(index).violations


def released_and_back(second: int) -> ChannelIndex:
    """Message 0 is released at 15 and comes back at 30; message 1 of its key is processed at ``second``."""
    first, again, later = got(0, 10), got(0, 30), got(1, second)
    deliveries = sorted([first, again, later], key=lambda row: row["received_ns"])
    settles = [settle(first, RELEASE, 15), settle(again, ACK, 31), settle(later, ACK, second + 1)]
    return typed([1, 1], deliveries, settles)


def test_a_later_message_waits_for_the_released_one() -> None:
    finding = after_release(released_and_back(40))
    assert (finding.observations, finding.violations) == (1, 0)


def test_a_later_message_does_not_wait() -> None:
    finding = after_release(released_and_back(20))
    assert (finding.observations, finding.violations) == (1, 1)
    assert finding.offenders[0]["seq"] == 0


def test_any_later_message_counts_not_only_the_next() -> None:
    first, again, third, second = got(0, 10), got(0, 30), got(2, 20), got(1, 40)
    settles = [settle(first, RELEASE, 15), settle(third, ACK, 21), settle(again, ACK, 31), settle(second, ACK, 41)]
    index = typed([1, 1, 1], [first, third, again, second], settles)
    assert after_release(index).violations == 1


def test_a_release_that_never_came_back_is_unknown_in_the_order() -> None:
    first, later = got(0, 10), got(1, 20)
    index = typed([1, 1], [first, later], [settle(first, RELEASE, 15), settle(later, ACK, 21)])
    assert (after_release(index).observations, after_release(index).unknown) == (0, 1)


def test_redelivery_before_and_after_the_lease() -> None:
    first = got(0, 10)
    index = typed([1], [first, got(0, 500)], [settle(first, RELEASE, 15)])
    soon = redelivery.comes_back(index, index.delivered, lease_s=1e-6, drained=True)
    late = redelivery.comes_back(index, index.delivered, lease_s=1e-7, drained=True)
    assert (soon.observations, soon.violations) == (1, 0)
    assert (late.observations, late.violations) == (1, 1)
    assert redelivery.returned(index, index.delivered, 1e-6).delay_ns.tolist() == [484]


def test_never_coming_back_is_a_failure_only_after_a_drain() -> None:
    first = got(0, 10)
    index = typed([1], [first], [settle(first, RELEASE, 15)])
    assert redelivery.comes_back(index, index.delivered, 1.0, drained=True).violations == 1
    unproven = redelivery.comes_back(index, index.delivered, 1.0, drained=False)
    assert (unproven.observations, unproven.violations, unproven.open) == (0, 0, 1)


def test_the_last_allowed_delivery_need_not_come_back() -> None:
    once, twice = got(0, 10), [got(1, 12), got(1, 20)]
    settles = [settle(delivery, RELEASE, delivery["received_ns"] + 1) for delivery in (once, *twice)]
    index = typed([1, 2], [once, *twice], settles)
    limited = redelivery.comes_back(index, index.delivered, 1.0, drained=True, max_deliveries=2)
    assert (limited.observations, [offender["seq"] for offender in limited.offenders]) == (2, [0])
    assert redelivery.comes_back(index, index.delivered, 1.0, drained=True).violations == 2
