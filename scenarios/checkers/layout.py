"""Do the places of messages agree with each other?

Messages are *located* by the place that their sender was told, else by that of their first intact delivery or replay.

``own_place``: two messages never share a place. Repeats under one identity are left out: a broker that swallows one
answers with the place of the first.

``one_partition``: all messages of a key lie on one partition, that of most of them.

``time_order``: along a partition the broker's time never goes back by more than the clock resolves. Of two times in the
wrong order that one is named which does not fit to the time before both. Not for times that clients put on messages:
those of several clients need not ascend.

Each looks at messages that may stand in any shard. ``located_and_pairs`` takes their columns from a shard and counts
those of each key and partition; ``along`` walks them by partition and place, stretch by stretch.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from brokerbench.brokers.types import NO_PARTITION, NO_PLACE, NO_TIME, Clock
from brokerbench.scenarios.checkers.consistency import first_of_each
from brokerbench.scenarios.checkers.index import promises
from brokerbench.scenarios.checkers.index.channel_index import MAX_OFFENDERS, ChannelIndex, Ids
from brokerbench.scenarios.history import Column, Columns, select
from brokerbench.scenarios.history.stamp import INTACT
from brokerbench.scenarios.verdicts import Finding

LOCATED = ("partition", "place", "broker_epoch_ns", "producer", "seq")
PAIRS = ("key", "partition", "messages", "producer", "seq")
NAMES = ("delivery.own_place", "delivery.key_partition", "delivery.broker_time_order")


def judged(index: ChannelIndex) -> tuple[Finding, Finding, Finding]:
    """The findings of NAMES of a channel in memory."""
    located, pairs = located_and_pairs(index)
    own, ascending = along([in_order(located)], resolution_ns(index))
    return own, one_partition([pairs]), ascending


def resolution_ns(index: ChannelIndex) -> int | None:
    """That of the broker's clock; None where its times need not ascend, or there are none."""
    told = promises.of(index.history, index.channel)
    return None if told.clock in (None, Clock.CLIENT_CREATE) else told.resolution_ns


def located_and_pairs(index: ChannelIndex) -> tuple[Columns, Columns]:
    """Columns LOCATED of the messages whose place is known, by (producer, seq); columns PAIRS of those with a key.

    A pair is a key and a partition: the number of its messages, and the first of these.
    """
    sent = index.sent
    partition, place, time_ns = _with_first_delivery(index)
    columns = dict(zip(LOCATED, (partition, place, time_ns, sent.producer, sent.seq), strict=True))
    located = select(columns, np.flatnonzero((place != NO_PLACE) & ~_shared(index)))
    rows = np.flatnonzero((sent.key >= 0) & (partition != NO_PARTITION))
    each = (sent.key[rows], partition[rows], np.ones(len(rows), np.int64), sent.producer[rows], sent.seq[rows])
    return located, _added(dict(zip(PAIRS, each, strict=True)))


def one_partition(parts: Sequence[Columns]) -> Finding:
    """``delivery.key_partition``. Observations are messages with a key whose partition is known."""
    together = {name: np.concatenate([part[name] for part in parts]) for name in PAIRS}
    every = _added(select(together, np.lexsort([together["seq"], together["producer"]])))
    key, messages = every["key"], every["messages"]
    begins = np.flatnonzero(np.append(True, key[1:] != key[:-1])) if len(key) else np.empty(0, np.int64)
    key_of = np.repeat(np.arange(len(begins)), np.diff(begins, append=len(key)))
    # The last of each key in this order has most messages, of equals the lowest partition.
    order = np.lexsort([-every["partition"], messages, key_of])
    home = order[np.cumsum(np.bincount(key_of, minlength=len(begins))) - 1] if len(begins) else begins
    away = np.ones(len(key), bool)
    away[home] = False
    at = np.flatnonzero(away)
    at = at[np.lexsort([every["seq"][at], every["producer"][at]])]
    return Finding(
        "delivery.key_partition",
        observations=int(messages.sum()),
        violations=int(messages[at].sum()),
        offenders=tuple(
            {
                **{name: int(every[name][row]) for name in ("producer", "seq", "key", "partition", "messages")},
                "others_on": int(every["partition"][home[key_of[row]]]),
            }
            for row in at[:MAX_OFFENDERS].tolist()
        ),
    )


@dataclass(slots=True)
class _Walk:
    """What was seen so far of one check: counts, and the first offenders of each partition."""

    observations: int = 0
    violations: int = 0
    offenders: dict[int, list[Mapping[str, int]]] = field(default_factory=dict)

    def add(self, rows: Columns, bad: Ids) -> None:
        self.violations += len(bad)
        partition = rows["partition"][bad]
        for number in np.unique(partition).tolist():
            kept = self.offenders.setdefault(number, [])
            for at in bad[partition == number][: MAX_OFFENDERS - len(kept)].tolist():
                kept.append({name: int(rows[name][at]) for name in ("producer", "seq", "partition", "place")})

    def finding(self, name: str) -> Finding:
        """Its offenders are the first by partition and place: stretches need not stand by partition."""
        first = sorted(
            (offender for kept in self.offenders.values() for offender in kept),
            key=lambda offender: [offender[name] for name in ("partition", "place", "producer", "seq")],
        )
        return Finding(name, self.observations, self.violations, offenders=tuple(first[:MAX_OFFENDERS]))


def along(stretches: Iterable[Columns], resolution_ns: int | None) -> tuple[Finding, Finding]:
    """``delivery.own_place`` and ``delivery.broker_time_order`` of LOCATED columns.

    Each stretch is ``in_order``, no place lies in two, and those of one partition ascend. Observations are
    messages, and messages with another before them on their partition.
    """
    own, ascending = _Walk(), _Walk()
    last: dict[int, Columns] = {}
    for rows in stretches:
        again = (rows["partition"][1:] == rows["partition"][:-1]) & (rows["place"][1:] == rows["place"][:-1])
        own.observations += len(rows["place"])
        own.add(rows, np.flatnonzero(again) + 1)
        if resolution_ns is not None:
            timed = select(rows, np.flatnonzero(rows["broker_epoch_ns"] != NO_TIME))
            for partition in np.unique(timed["partition"]).tolist():
                here = select(timed, np.flatnonzero(timed["partition"] == partition))
                last[partition] = _walk_times(ascending, here, last.get(partition), resolution_ns)
    return own.finding("delivery.own_place"), ascending.finding("delivery.broker_time_order")


def _walk_times(walk: _Walk, here: Columns, before: Columns | None, resolution_ns: int) -> Columns:
    """``before``: the last two rows of the partition before these. Returns those of the partition so far."""
    rows = {**here, "counted": np.zeros(len(here["place"]), bool)}
    ahead = 0 if before is None else len(before["place"])
    if before is not None:
        rows = {name: np.concatenate([before[name], column]) for name, column in rows.items()}
    time_ns, counted = rows["broker_epoch_ns"], rows["counted"]
    back = np.flatnonzero(time_ns[1:] < time_ns[:-1] - resolution_ns) + 1
    back = back[back >= ahead]
    # Where this one fits to the one before the last, the last was ahead of its time.
    fits = (back >= 2) & (time_ns[back] >= time_ns[back - 2] - resolution_ns)
    wrong = np.unique(np.where(fits, back - 1, back))
    wrong = wrong[~counted[wrong]]
    walk.observations += len(time_ns) - max(1, ahead)
    walk.add(rows, wrong)
    counted[wrong] = True
    return select(rows, slice(-2, None))


def _with_first_delivery(index: ChannelIndex) -> tuple[Column, Column, Column]:
    """By message: partition and place, of its settlement or else its first intact delivery, and that one's time."""
    sent, delivered = index.sent, index.delivered
    intact = np.flatnonzero((delivered.message >= 0) & (delivered.column("status") == INTACT))
    first = first_of_each(delivered.message[intact], len(sent))
    there = np.flatnonzero(first >= 0)
    origin = intact[first[there]]
    partition, place = sent.partition.copy(), sent.place.copy()
    time_ns = np.full(len(sent), NO_TIME, np.int64)
    time_ns[there] = delivered.column("broker_epoch_ns")[origin]
    untold = place[there] == NO_PLACE
    partition[there[untold]] = delivered.column("partition")[origin[untold]]
    place[there[untold]] = delivered.column("place")[origin[untold]]
    return partition, place, time_ns


def _shared(index: ChannelIndex) -> Column:
    """By message whether another has its identity."""
    given = index.identities
    shared = np.zeros(len(index.sent), bool)
    if len(given.producer):
        ids = index.numbers.ids(given.producer, given.seq)
        shared[ids[given.shared & (ids >= 0)]] = True
    return shared


def in_order(columns: Columns) -> Columns:
    """By (partition, place, producer, seq)."""
    partition, place = columns["partition"], columns["place"]
    one_partition_only = len(partition) > 0 and bool(np.all(partition == partition[0]))
    order = np.argsort(place, kind="stable") if one_partition_only else np.lexsort([place, partition])
    # Two messages of one place are rare: only then is it worth to sort by four columns.
    if np.any((np.diff(partition[order]) == 0) & (np.diff(place[order]) == 0)):
        order = np.lexsort([columns["seq"], columns["producer"], place, partition])
    return select(columns, order)


def _added(columns: Columns) -> Columns:
    """One row for each key and partition: messages added, the first (producer, seq). Rows stand in that order."""
    ordered = select(columns, np.lexsort([columns["partition"], columns["key"]]))
    key, partition = ordered["key"], ordered["partition"]
    if not len(key):
        return ordered
    begins = np.flatnonzero(np.append(True, (key[1:] != key[:-1]) | (partition[1:] != partition[:-1])))
    return {**select(ordered, begins), "messages": np.add.reduceat(ordered["messages"], begins)}
