"""All checkers, by the name of their finding, on one channel of a history; its marks say what was done."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from brokerbench.bench.selftest.scripts import LETTERS, MAX_DELIVERIES
from brokerbench.brokers.faulty import Offender
from brokerbench.scenarios.analysis import replay
from brokerbench.scenarios.checkers import (
    arrivals,
    dead_letters,
    deduplication,
    delivery_counts,
    expiry,
    layout,
    leases,
    order,
    order_while_waiting,
    redelivery,
)
from brokerbench.scenarios.checkers.findings import combined
from brokerbench.scenarios.checkers.index import channel_index
from brokerbench.scenarios.checkers.index.channel_index import ChannelIndex, Delivered
from brokerbench.scenarios.checkers.sharding.reduction import OF_CHANNELS
from brokerbench.scenarios.history import History, stamp
from brokerbench.scenarios.verdicts import Finding

Check = Callable[[ChannelIndex], Finding]
Identity = tuple[str, int, int]
"""Of a message that was sent: ("sent", producer, seq); of any other: ("never sent", 0, checksum)."""

TOLERANCE_S = 60.0
"""Seconds by which a redelivery may be later than its lease. The clock jumps further only on purpose."""
_NOT_CONSUMED = "nothing was consumed"
_NOT_READ_AGAIN = "nothing was consumed and then read again"


@dataclass(frozen=True, slots=True)
class Answer:
    """``named`` are the messages that the finding names: the first offenders, not all."""

    violations: int
    observations: int
    named: frozenset[Identity]
    testable: bool


def answers(history: History, channel: str) -> dict[str, Answer]:
    whole = channel_index.of_channel(history, channel)
    return {name: _answer(history, check(whole)) for name, check in CHECKS.items()}


def alarms(found: Mapping[str, Answer]) -> dict[str, int]:
    """Violations by checker, of those that found what is not legal."""
    return {name: answer.violations for name, answer in found.items() if answer.violations and name not in FACTS}


def identity(offender: Offender, run: int) -> Identity:
    """Identity of a message that a fault hit, by the payload as it was sent."""
    stamps = stamp.read([offender.payload], run)
    if stamps.status[0] != stamp.INTACT:
        return ("never sent", 0, int(stamps.checksum[0]))
    return ("sent", int(stamps.producer[0]), int(stamps.seq[0]))


def _answer(history: History, finding: Finding) -> Answer:
    named = frozenset(_named(history, offender) for offender in finding.offenders)
    return Answer(finding.violations, finding.observations, named, not finding.not_testable)


def _named(history: History, offender: Mapping[str, Any]) -> Identity:
    if "producer" in offender:
        return ("sent", int(offender["producer"]), int(offender["seq"]))
    deliveries = history.deliveries
    here = [deliveries[name] == offender[name] for name in ("reader", "batch", "slot")]
    (at,) = np.flatnonzero(np.logical_and.reduce(here))
    if deliveries["status"][at] == stamp.INTACT:
        return ("sent", int(deliveries["producer"][at]), int(deliveries["seq"][at]))
    return ("never sent", 0, int(deliveries["checksum"][at]))


def consumed(whole: ChannelIndex) -> Delivered:
    return whole.delivered.to(whole.consumers())


def producers(whole: ChannelIndex) -> list[int]:
    return whole.history.producers(channel=whole.channel)


def _where(applies: Callable[[ChannelIndex], bool], otherwise: str, check: Check) -> Check:
    """The check, not testable where it does not apply."""
    return lambda whole: check(whole) if applies(whole) else Finding("", not_testable=otherwise)


def _phase(whole: ChannelIndex, **wanted: object) -> bool:
    """Whether the channel was marked as a phase with these attributes."""
    return bool(list(whole.history.events("phase", channel=whole.channel, **wanted)))


def _of_group(check: Callable[[ChannelIndex, Delivered], Finding]) -> Check:
    """A check of the deliveries to one group; not testable where nothing was consumed."""
    return _where(lambda whole: bool(whole.consumers()), _NOT_CONSUMED, lambda whole: check(whole, consumed(whole)))


def _alone(check: Callable[[str, ChannelIndex, Delivered, list[int]], Finding]) -> Check:
    """A check of the order among different keys, which is promised to a single consumer that never fails."""
    return _where(
        lambda whole: _phase(whole, alone=True),
        "several consumers, or failures, may change the order among keys",
        lambda whole: check("", whole, consumed(whole), producers(whole)),
    )


def _attempts(whole: ChannelIndex) -> list[Mapping[str, Any]]:
    return list(whole.history.events("attempt", channel=whole.channel))


Several = Callable[[ChannelIndex], list[Finding]]
"""A check with one finding for each of several things."""


def _of_attempts(check: Callable[[ChannelIndex, replay.Attempt], Finding]) -> Several:
    """A check of each attempt to read messages again that a group got before."""

    def checked(whole: ChannelIndex) -> list[Finding]:
        if not whole.consumers() or not _attempts(whole):
            return [Finding("", not_testable=_NOT_READ_AGAIN)]
        return [check(whole, attempt) for attempt in _attempts(whole)]

    return checked


def _of_replays(check: Callable[[ChannelIndex, replay.First, replay.Attempt], Finding]) -> Several:
    """The same against the first deliveries."""
    return _of_attempts(lambda whole, attempt: check(whole, replay.first_deliveries(whole, consumed(whole)), attempt))


def _kept(check: Callable[[ChannelIndex, list[Mapping[str, Any]], float], Finding]) -> Several:
    """A check, for each attempt to read the channel, of how long it keeps messages that are not consumed."""

    def checked(whole: ChannelIndex) -> list[Finding]:
        kept = next(whole.history.events("kept", channel=whole.channel), None)
        if kept is None:
            return [Finding("", not_testable="the channel has no age limit")]
        looks = [[attempt] for attempt in _attempts(whole)] or [[]]
        return [check(whole, look, float(kept["age_s"])) for look in looks]

    return checked


def _within_size(whole: ChannelIndex) -> list[Finding]:
    """A check, for each attempt to read the channel, of which messages a limit of size keeps."""
    if not list(whole.history.events("limited", channel=whole.channel)):
        return [Finding("", not_testable="the channel has no limit of size")]
    return [expiry.newest_kept(whole, [attempt]) for attempt in _attempts(whole)]


def _lease_s(whole: ChannelIndex) -> float:
    return float(next(whole.history.events("phase", channel=whole.channel))["lease_s"])


def window_s(whole: ChannelIndex) -> float | None:
    within_s = next(whole.history.events("phase", channel=whole.channel)).get("window_s")
    return None if within_s is None else float(within_s)


def _lost(whole: ChannelIndex, group: Delivered) -> Finding:
    """Swallowed repeats are no losses."""
    within_s = window_s(whole)
    required = whole if within_s is None else deduplication.apart(whole, group, within_s)
    return arrivals.lost(required, group, drained=whole.drained())


def _of_repeats(check: Callable[..., Finding]) -> Check:
    """A check of deduplication; not testable where messages have no identity."""
    return _where(
        lambda whole: bool(whole.consumers()) and window_s(whole) is not None,
        "the channel does not deduplicate",
        lambda whole: check(whole, consumed(whole), window_s(whole), drained=whole.drained()),
    )


def _has_letters(whole: ChannelIndex) -> bool:
    return _phase(whole, letters=True)


def _max_deliveries(whole: ChannelIndex) -> int | None:
    return MAX_DELIVERIES if _has_letters(whole) else None


def _both_drained(whole: ChannelIndex) -> bool:
    return whole.drained() and bool(list(whole.history.events("drained", channel=LETTERS)))


def _of_letters(check: Callable[[ChannelIndex, dead_letters.Letters], Finding]) -> Check:
    """A check of dead letters; not testable where a failing message is delivered without end."""
    return _where(
        _has_letters,
        "the channel has no dead letters",
        lambda whole: check(whole, dead_letters.of(whole, consumed(whole), LETTERS, MAX_DELIVERIES, all_seen=True)),
    )


def _comes_back(whole: ChannelIndex, group: Delivered) -> Finding:
    if _phase(whole, lapses=True):
        reason = "who holds an earlier message of the key until its lease ends may keep a released one waiting"
        return Finding("", not_testable=reason)
    most = _max_deliveries(whole)
    return redelivery.comes_back(whole, group, _lease_s(whole), drained=whole.drained(), max_deliveries=most)


def _not_late(whole: ChannelIndex, group: Delivered) -> Finding:
    most = _max_deliveries(whole)
    return leases.not_late(whole, group, _lease_s(whole), TOLERANCE_S, drained=whole.drained(), max_deliveries=most)


def _replayed(whole: ChannelIndex, attempt: replay.Attempt) -> Delivered:
    return whole.delivered.to([int(attempt["reader"])])


FACTS = ("send.settled", "send.taken", "redelivery.none")
"""Their findings are legal, and occur without any fault."""

ONE_BY_ONE: Mapping[str, Several] = {
    "replay.complete": _of_replays(replay.complete),
    "replay.intact": _of_attempts(
        lambda whole, attempt: arrivals.altered(whole, _replayed(whole, attempt), "replay.intact")
    ),
    "replay.order": _of_replays(replay.in_first_order),
    "retention.not_early": _kept(expiry.early),
    "retention.by_age": _kept(expiry.late),
    "retention.by_size": _within_size,
}
"""By the name of the finding."""


def _all_of(check: Several) -> Check:
    return lambda whole: combined("", check(whole))


def _layout(at: int, whole: ChannelIndex) -> Finding:
    """The finding of that number among those of ``layout.NAMES``."""
    return layout.judged(whole)[at]


CHECKS: Mapping[str, Check] = {
    "delivery.no_loss": _of_group(_lost),
    "delivery.no_phantom": _of_group(arrivals.phantoms),
    "delivery.no_duplicate": _of_group(arrivals.delivered_again),
    "delivery.intact": _of_group(arrivals.altered),
    "delivery.no_rejected": _of_group(arrivals.delivered_all_the_same),
    "delivery.count": _of_group(lambda whole, group: delivery_counts.counted(whole, group, all_seen=True)),
    **OF_CHANNELS,
    **{name: partial(_layout, at) for at, name in enumerate(layout.NAMES)},
    "send.settled": arrivals.unknown,
    "send.taken": arrivals.refused,
    "deduplication.applied": _of_repeats(deduplication.repeats_swallowed),
    "deduplication.only_repeats": _of_repeats(deduplication.new_kept),
    "dead_letter.complete": _of_letters(
        lambda whole, letters: dead_letters.complete(letters, drained=_both_drained(whole))
    ),
    "dead_letter.only_failed": _of_letters(lambda _whole, letters: dead_letters.only_failed(letters)),
    "dead_letter.intact": _of_letters(lambda _whole, letters: dead_letters.intact(letters)),
    "ordering.per_key": _of_group(
        lambda whole, group: order.per_key("ordering.per_key", whole, group, producers(whole))
    ),
    "ordering.per_partition": _alone(order.per_partition),
    "ordering.channel": _alone(order.whole_channel),
    "ordering.after_redelivery": _of_group(
        lambda whole, group: order.after_release("ordering.after_redelivery", whole, group, producers(whole))
    ),
    "ordering.while_waiting": _of_group(
        lambda whole, group: order_while_waiting.in_order("ordering.while_waiting", whole, group, producers(whole))
    ),
    "redelivery.after_release": _of_group(_comes_back),
    "redelivery.not_early": _of_group(lambda whole, group: leases.not_early(whole, group, _lease_s(whole))),
    "redelivery.none": _of_group(lambda whole, group: leases.in_time(whole, group, _lease_s(whole))),
    "redelivery.not_late": _of_group(_not_late),
    **{name: _all_of(check) for name, check in ONE_BY_ONE.items()},
}
"""By the name of the finding."""
