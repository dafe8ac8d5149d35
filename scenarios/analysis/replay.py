"""Findings of the replay scenario: the messages of each attempt to read again, against those of the first group.

A replay is compared with the *first delivery* of each acknowledged message (its partition, place and broker time), up
to the highest place that the replay read, or to the end where the broker says that it keeps the rest and gave nothing
for long; else what an early end left is open. A time is asked for inclusively; messages just before it, closer than the
clock's resolution, are not extra.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from brokerbench.brokers.types import Outcome
from brokerbench.scenarios.analysis import delivery
from brokerbench.scenarios.base import Examination, Measured
from brokerbench.scenarios.checkers import arrival_delay, arrivals
from brokerbench.scenarios.checkers.findings import combined, spread, with_waits
from brokerbench.scenarios.checkers.index import channel_index
from brokerbench.scenarios.checkers.index.channel_index import MAX_OFFENDERS, ChannelIndex, Delivered, Ids, Mask
from brokerbench.scenarios.history import History
from brokerbench.scenarios.history.stamp import CORRUPT
from brokerbench.scenarios.verdicts import Finding

_MODES = ("from_beginning", "from_position", "from_time", "independent_reader")
_BESIDE_OTHERS = "not a benchmark figure: cells run side by side"

Attempt = Mapping[str, Any]
"""An ``attempt`` mark: mode, reader, outcome (read, ended early, looked, refused), where it started."""


@dataclass(frozen=True, slots=True)
class First:
    """The first delivery to the first group, by message id: index (-1 = none), partition, place, broker time."""

    index: Ids
    partition: Ids
    place: Ids
    epoch_ns: Ids
    expected: Mask
    """Acknowledged by the broker when sent, and delivered."""


def examine(history: History) -> Examination:
    names = channel_index.channels(history)
    if not names:
        return Examination([], [])
    whole = channel_index.of_channel(history, names[0])
    attempts = list(history.events("attempt"))
    consumed = whole.delivered.to(whole.consumers())
    group = whole.delivered.to(whole.consumers(group="first"))
    first = first_deliveries(whole, group)
    reads = [
        attempt for attempt in attempts if attempt["outcome"] in ("read", "ended early") and "readers" not in attempt
    ]
    replayed = whole.delivered.to([int(attempt["reader"]) for attempt in reads])
    groups = dict.fromkeys(str(mark["group"]) for mark in history.events("reader", kind="consumer"))
    refusals = dict.fromkeys(str(attempt["reason"]) for attempt in attempts if attempt["outcome"] == "refused")
    none_read = "" if reads else "; ".join(refusals) or "the experiment ended before"
    findings = [
        *(_capability(whole, first, mode, attempts) for mode in _MODES[:3]),
        _independent(whole, group, first, attempts),
        _or_untestable("replay.complete", none_read, [complete(whole, first, attempt) for attempt in reads]),
        _or_untestable("replay.intact", none_read, [arrivals.altered(whole, replayed)]),
        _or_untestable("replay.order", none_read, [in_first_order(whole, first, attempt) for attempt in reads]),
        _time_offset(whole, attempts, none_read),
        with_waits(arrivals.lost(whole, consumed, drained=whole.drained()), whole),
        arrivals.phantoms(whole, consumed),
        combined(
            "delivery.no_duplicate",
            [arrivals.delivered_again(whole, consumed.to(whole.consumers(group=name))) for name in groups],
        ),
        arrivals.altered(whole, consumed),
        arrival_delay.over([arrival_delay.progress(whole, consumed)]),
        *delivery.consistency(whole),
    ]
    return Examination(findings, list(_rates(whole, reads)))


def first_deliveries(whole: ChannelIndex, group: Delivered) -> First:
    index = group.first
    there = index >= 0
    at = np.maximum(index, 0)

    def gathered(name: str) -> Ids:
        column = group.column(name).astype(np.int64)
        return np.where(there, column[at], -1) if len(column) else np.full(len(index), -1, np.int64)

    return First(
        index,
        gathered("partition"),
        gathered("place"),
        gathered("broker_epoch_ns"),
        there & (whole.sent.outcome == Outcome.ACKNOWLEDGED),
    )


def _replayed(whole: ChannelIndex, attempt: Attempt) -> Delivered:
    return whole.delivered.to([int(attempt["reader"])])


def complete(whole: ChannelIndex, first: First, attempt: Attempt) -> Finding:
    """Every message from the start on, each once, and nothing else."""
    replayed = _replayed(whole, attempt)
    message = replayed.message
    seen = np.zeros(len(whole.sent), bool)
    seen[message[message >= 0]] = True
    wanted = _wanted(first, attempt)
    # What the replay must have shown by now: all up to the highest place that it read.
    read = ((partition, int(reach.highest[-1])) for partition, reach in whole.reach(int(attempt["reader"])).items())
    there = ((int(partition), int(place)) for partition, place in attempt["last"].items())
    required = wanted & _up_to(first, there)
    observable = wanted & (seen | _up_to(first, read) | (required & _withheld(first, attempt)))
    missing = np.flatnonzero(observable & ~seen)
    inside, near = _scope(attempt, *(replayed.column(name) for name in ("partition", "place", "broker_epoch_ns")))
    repeated = np.ones(len(message), bool)
    repeated[replayed.first[seen]] = False
    repeated &= message >= 0
    rejected = np.zeros(len(message), bool)
    rejected[message >= 0] = whole.sent.outcome[message[message >= 0]] == Outcome.REJECTED
    foreign = (message < 0) & (replayed.column("status") != CORRUPT)
    extra = np.flatnonzero((~inside & ~near) | repeated | foreign | rejected)
    where = {"mode": attempt["mode"], "reader": int(attempt["reader"])}
    offenders: list[Mapping[str, object]] = [
        {
            "kind": "missing",
            **where,
            **whole.sent.describe(int(number)),
            "partition": int(first.partition[number]),
            "place": int(first.place[number]),
        }
        for number in missing[:MAX_OFFENDERS]
    ]
    offenders += [
        {
            "kind": "repeated" if repeated[at] else "extra",
            **where,
            **(whole.sent.describe(int(message[at])) if message[at] >= 0 else {}),
            **replayed.describe(int(at)),
        }
        for at in extra[:MAX_OFFENDERS]
    ]
    return Finding(
        "replay.complete",
        observations=int(observable.sum()) + len(extra),
        violations=len(missing) + len(extra),
        open=int((required & ~observable).sum()),
        offenders=tuple(offenders[:MAX_OFFENDERS]),
        remarks=(f"reader {attempt['reader']} ended early",) if attempt["outcome"] == "ended early" else (),
    )


def in_first_order(whole: ChannelIndex, first: First, attempt: Attempt) -> Finding:
    """Per producer and key: neighbours in the order of first delivery come in the same order again."""
    replayed = _replayed(whole, attempt)
    rank = replayed.first
    both = np.flatnonzero(first.expected & (rank >= 0))
    message = both[np.argsort(first.index[both])]
    group = whole.order_group[message]
    by_group = np.argsort(group, kind="stable")
    message, group = message[by_group], group[by_group]
    neighbours = np.flatnonzero(group[1:] == group[:-1])
    earlier, later = message[neighbours], message[neighbours + 1]
    bad = np.flatnonzero(rank[later] < rank[earlier])
    bad = bad[np.argsort(rank[earlier[bad]], kind="stable")]
    return Finding(
        "replay.order",
        observations=len(neighbours),
        violations=len(bad),
        offenders=tuple(
            {
                "mode": attempt["mode"],
                **whole.sent.describe(int(earlier[at])),
                **replayed.describe(int(rank[earlier[at]])),
                "overtaken_by": whole.sent.describe(int(later[at])),
            }
            for at in bad[:MAX_OFFENDERS].tolist()
        ),
    )


def _scope(attempt: Attempt, partition: Ids, place: Ids, epoch_ns: Ids) -> tuple[Mask, Mask]:
    """Masks of the messages that the attempt asked for, and of those too short before the asked time to tell."""
    near = np.zeros(len(place), bool)
    if "places" in attempt:
        inside = np.zeros(len(place), bool)
        for number, start in attempt["places"].items():
            inside |= (partition == int(number)) & (place >= int(start))
        return inside, near
    if "asked_epoch_ns" in attempt:
        from_asked = epoch_ns - int(attempt["asked_epoch_ns"])
        return from_asked >= 0, (from_asked < 0) & (from_asked > -int(attempt["resolution_ns"]))
    return np.ones(len(place), bool), near


def _up_to(first: First, places: Iterable[tuple[int, int]]) -> Mask:
    """Messages whose place is at most that of their partition."""
    found = np.zeros(len(first.index), bool)
    for partition, place in places:
        found |= (first.partition == partition) & (first.place <= place)
    return found


def _withheld(first: First, attempt: Attempt) -> Mask:
    """Messages that the broker says it keeps, though the attempt ended without them."""
    found = np.zeros(len(first.index), bool)
    for number, begin in attempt.get("kept_from", {}).items():
        kept = (first.place >= int(begin)) & (first.place < int(attempt["kept_to"][number]))
        found |= (first.partition == int(number)) & kept
    return found


def _or_untestable(name: str, reason: str, parts: Sequence[Finding]) -> Finding:
    if reason:
        return Finding(name, not_testable=f"nothing was replayed: {reason}")
    return combined(name, parts)


def _capability(whole: ChannelIndex, first: First, mode: str, attempts: Sequence[Attempt]) -> Finding:
    """An attempt succeeds when an acknowledged message that it asked for is delivered again.

    One that ended early without any is open, unless the broker says that it keeps messages of that kind.
    """
    tried = [attempt for attempt in attempts if attempt["mode"] == mode]
    unseen = [attempt for attempt in tried if not first.expected[_replayed(whole, attempt).known().message].any()]
    failed = [
        attempt
        for attempt in unseen
        if attempt["outcome"] != "ended early" or (_wanted(first, attempt) & _withheld(first, attempt)).any()
    ]
    return _of_attempts(f"replay.{mode}", tried, failed, len(unseen) - len(failed))


def _wanted(first: First, attempt: Attempt) -> Mask:
    return _scope(attempt, first.partition, first.place, first.epoch_ns)[0] & first.expected


def _independent(whole: ChannelIndex, group: Delivered, first: First, attempts: Sequence[Attempt]) -> Finding:
    """An attempt succeeds when its reader misses nothing, and the group got each message exactly once."""
    tried = [attempt for attempt in attempts if attempt["mode"] == "independent_reader"]
    failed, not_seen = [], 0
    lost = arrivals.lost(whole, group, drained=whole.drained(group="first"))
    again = arrivals.delivered_again(whole, group)
    disturbed = bool(lost.violations or again.violations)
    for attempt in tried:
        if attempt["outcome"] == "refused":
            failed.append(attempt)
        elif "readers" in attempt:
            ours = whole.sent.by([int(attempt["producer"])]) & (whole.sent.outcome == Outcome.ACKNOWLEDGED)
            missing = [int((ours & (whole.delivered.to([reader]).first < 0)).sum()) for reader in attempt["readers"]]
            if any(missing):
                if attempt["outcome"] == "looked":
                    failed.append({**attempt, "missing": missing})
                else:
                    not_seen += 1
        elif disturbed or complete(whole, first, attempt).violations:
            failed.append(attempt)
        elif attempt["outcome"] != "read" or not whole.drained(group="first"):
            not_seen += 1
    return _of_attempts("replay.independent_reader", tried, failed, not_seen)


def _of_attempts(name: str, tried: Sequence[Attempt], failed: Sequence[Attempt], not_seen: int) -> Finding:
    told = ("mode", "reader", "outcome", "reason", "missing")
    return Finding(
        name,
        observations=len(tried) - not_seen,
        violations=len(failed),
        open=not_seen,
        offenders=tuple({key: attempt[key] for key in told if key in attempt} for attempt in failed[:MAX_OFFENDERS]),
        remarks=tuple(dict.fromkeys(str(attempt["reason"]) for attempt in tried if "reason" in attempt)),
    )


def _time_offset(whole: ChannelIndex, attempts: Sequence[Attempt], none_read: str) -> Finding:
    name = "replay.time_offset"
    if none_read:
        return Finding(name, not_testable=f"nothing was replayed: {none_read}")
    samples: list[float] = []
    notes: dict[str, None] = {}
    for attempt in attempts:
        if "asked_epoch_ns" not in attempt or attempt["outcome"] == "refused":
            continue
        epoch_ns = _replayed(whole, attempt).column("broker_epoch_ns")
        if len(epoch_ns):
            samples.append((int(epoch_ns.min()) - int(attempt["asked_epoch_ns"])) / 1e6)
            notes[f"clock: {attempt['clock']}, resolution {attempt['resolution_ns'] / 1e6:g} ms"] = None
    return Finding(name, observations=len(samples), samples=tuple(samples), remarks=tuple(notes))


def _rates(whole: ChannelIndex, reads: Sequence[Attempt]) -> Iterator[Measured]:
    """Speed of reading again, and time to the first message, of the modes that do not wait for a producer."""
    for mode in _MODES[:3]:
        rates, firsts = [], []
        for attempt in reads:
            received = _replayed(whole, attempt).column("received_ns")
            if attempt["mode"] != mode or not len(received):
                continue
            began_ns = int(attempt["began_ns"])
            rates.append(len(received) / (int(received[-1]) - began_ns) * 1e9)
            firsts.append((int(received[0]) - began_ns) / 1e6)
        if rates:
            for name, unit, samples, better in (
                ("replay_rate", "msg/s", rates, "higher"),
                ("replay_first_message", "ms", firsts, "lower"),
            ):
                of = {"mode": mode}
                yield Measured(name, unit, spread(samples), of, better=better, note=_BESIDE_OTHERS, comparable=False)
