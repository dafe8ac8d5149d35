"""One channel of a history, put in order once, for all checkers.

Messages have an *id*: sends of the channel numbered from 0 by (producer, seq). As ``seq`` has no gaps an id is a
sum, and joining deliveries to sends is one gather instead of a sort. Deliveries are in *order of delivery*: by
the time of their batch, then as the reader had them. Columns are gathered when they are asked for, so
that a large history is not held twice.

A delivery whose stamp is damaged does not say reliably which message it was: it is attributed by its place, where the
channel has places, and to no message (-1) otherwise.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from brokers.types import NO_PLACE, Outcome
from scenarios.history import Action, Column, Columns, History
from scenarios.stamp import INTACT

NEVER = np.iinfo(np.int64).max
MAX_OFFENDERS = 10

Ids = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Sent:
    """Sends of one channel by id. ``partition`` and ``place`` are NO_... where the sender was not told."""

    producer: Column
    seq: Column
    key: Column
    size: Column
    checksum: Column
    outcome: Column
    partition: Column
    place: Column

    def __len__(self) -> int:
        return len(self.seq)

    def by(self, producers: Sequence[int]) -> Mask:
        return np.isin(self.producer, producers)

    def describe(self, message: int) -> dict[str, object]:
        return {
            "producer": int(self.producer[message]),
            "seq": int(self.seq[message]),
            "key": int(self.key[message]),
        }


@dataclass(frozen=True, slots=True)
class Delivered:
    """Deliveries in order of delivery. ``message`` is an id of ``Sent``, or -1."""

    source: Columns
    rows: Ids
    message: Ids

    def __len__(self) -> int:
        return len(self.rows)

    def column(self, name: str) -> Column:
        return self.source[name][self.rows]

    def only(self, rows: Mask | Ids) -> Delivered:
        return replace(self, rows=self.rows[rows], message=self.message[rows])

    def to(self, readers: Sequence[int]) -> Delivered:
        return self.only(np.isin(self.column("reader"), readers))

    def known(self) -> Delivered:
        return self.only(self.message >= 0)

    def first(self, messages: int) -> Ids:
        """For each message id the index of its first delivery, or -1."""
        return _first(self.message, messages)

    def describe(self, at: int) -> dict[str, object]:
        row = self.rows[at]
        names = ("reader", "partition", "place", "received_ns")
        return {name: int(self.source[name][row]) for name in names}


@dataclass(frozen=True, slots=True)
class Settled:
    """For each delivery: when its settlement was asked for and when the answer came (NEVER where not), by action."""

    asked_ns: Ids
    settled_ns: Ids
    """Only where the broker answered yes."""


@dataclass(frozen=True, slots=True)
class Record:
    """Everything that happened on one channel."""

    history: History
    channel: str
    sent: Sent
    delivered: Delivered
    last_sent_ns: int

    def consumers(self, **attributes: object) -> list[int]:
        return self.history.readers(channel=self.channel, kind="consumer", **attributes)

    def drained(self, **attributes: object) -> bool:
        """Whether it was proven, after the last send, that nothing was left."""
        proofs = self.history.events("drained", channel=self.channel, **attributes)
        return any(int(proof["at_ns"]) > self.last_sent_ns for proof in proofs)

    def settled(self, delivered: Delivered, action: Action) -> Settled:
        """Settlements of these deliveries by one action."""
        settles = self.history.settles
        chosen = np.flatnonzero(settles["action"] == action)
        asked = np.full(len(self.history.deliveries["slot"]), NEVER, np.int64)
        answered = asked.copy()
        rows = _rows_of_settles(self.history, chosen)
        found = rows >= 0
        chosen, rows = chosen[found], rows[found]
        asked[rows] = settles["asked_ns"][chosen]
        fine = settles["outcome"][chosen] == Outcome.ACKNOWLEDGED
        answered[rows[fine]] = settles["settled_ns"][chosen[fine]]
        return Settled(asked[delivered.rows], answered[delivered.rows])


def of_channel(history: History, channel: str) -> Record:
    """The record of one channel. Raises ValueError for sends that are not numbered without gaps."""
    producers = history.producers(channel=channel)
    bases, counts = _numbering(history.sends, producers)
    sent = _sent(history, bases, counts)
    source = history.deliveries
    rows = np.flatnonzero(np.isin(source["reader"], history.readers(channel=channel)))
    received = source["received_ns"][rows]
    if len(received) and (np.diff(received) < 0).any():
        # Stable: within one reader the rows of the history are in its own order already.
        rows = rows[np.argsort(received, kind="stable")]
    message = _ids(bases, counts, source["producer"][rows], source["seq"][rows])
    damaged = np.flatnonzero(source["status"][rows] != INTACT)
    message[damaged] = -1
    if len(damaged):
        message[damaged] = _by_place(sent, source, rows, message, damaged)
    ours = np.isin(history.sends["producer"], producers)
    last_sent_ns = int(history.sends["sent_ns"][ours].max(initial=0))
    return Record(history, channel, sent, Delivered(source, rows, message), last_sent_ns)


def channels(history: History, **attributes: object) -> list[str]:
    """Channels that have a producer with these attributes, in order of their first mark."""
    return list(dict.fromkeys(str(mark["channel"]) for mark in history.events("producer", **attributes)))


def _numbering(sends: Columns, producers: Sequence[int]) -> tuple[Ids, Ids]:
    """(first id, number of sends) by producer number; a number of 0 for producers that are not meant."""
    highest = max(producers, default=-1)
    counts = np.zeros(highest + 2, np.int64)
    if len(sends["producer"]):
        found = np.bincount(sends["producer"], minlength=highest + 1)
        for producer in producers:
            counts[producer] = found[producer]
    return np.concatenate([[0], np.cumsum(counts)[:-1]]), counts


def _ids(bases: Ids, counts: Ids, producer: Column, seq: Column) -> Ids:
    """Ids of these messages; -1 for those that the channel's producers never sent."""
    safe = np.where((producer >= 0) & (producer < len(counts)), producer, len(counts) - 1)
    inside = (seq >= 0) & (seq < counts[safe])
    ids: Ids = np.where(inside, bases[safe] + seq, -1)
    return ids


def _sent(history: History, bases: Ids, counts: Ids) -> Sent:
    sends, settled = history.sends, history.settled
    ids = _ids(bases, counts, sends["producer"], sends["seq"])
    total = int(counts.sum())
    kept = np.flatnonzero(ids >= 0)
    if not np.array_equal(np.bincount(ids[kept], minlength=total), np.ones(total, np.int64)):
        raise ValueError("the sends of a history are not numbered from 0 without gaps")
    by_id = np.empty(total, np.int64)
    by_id[ids[kept]] = kept
    settled_ids = _ids(bases, counts, settled["producer"], settled["seq"])
    rows = np.flatnonzero(settled_ids >= 0)

    def joined(name: str, missing: int) -> Column:
        column = np.full(total, missing, settled[name].dtype)
        column[settled_ids[rows]] = settled[name][rows]
        return column

    own = {name: sends[name][by_id] for name in ("producer", "seq", "key", "size", "checksum")}
    return Sent(
        **own,
        outcome=joined("outcome", int(Outcome.UNKNOWN)),
        partition=joined("partition", -1),
        place=joined("place", NO_PLACE),
    )


def _by_place(sent: Sent, source: Columns, rows: Ids, message: Ids, damaged: Ids) -> Ids:
    """Which messages were sent to the places of the damaged deliveries, or delivered intact from there."""
    place = source["place"][rows]
    known: dict[tuple[int, int], int] = {}
    wanted = place[damaged]
    others = np.flatnonzero((message >= 0) & np.isin(place, wanted))
    for partition, at, number in zip(
        source["partition"][rows[others]].tolist(),
        place[others].tolist(),
        message[others].tolist(),
        strict=True,
    ):
        known[partition, at] = number
    for number in np.flatnonzero(np.isin(sent.place, wanted)).tolist():
        known[int(sent.partition[number]), int(sent.place[number])] = number
    spots = zip(source["partition"][rows[damaged]].tolist(), wanted.tolist(), strict=True)
    return np.array([-1 if spot[1] == NO_PLACE else known.get(spot, -1) for spot in spots], np.int64)


def _rows_of_settles(history: History, chosen: Ids) -> Ids:
    """The row of ``deliveries`` that each of these settles is about, or -1.

    The rows of one batch stand together, slot 0 first, so a row is the batch's first row and the slot.
    """
    deliveries, settles = history.deliveries, history.settles
    starts = np.flatnonzero(deliveries["slot"] == 0)
    width = int(max(deliveries["batch"].max(initial=0), settles["batch"].max(initial=0))) + 1
    codes = deliveries["reader"][starts].astype(np.int64) * width + deliveries["batch"][starts]
    order = np.argsort(codes, kind="stable")
    wanted = settles["reader"][chosen].astype(np.int64) * width + settles["batch"][chosen]
    at = np.searchsorted(codes[order], wanted)
    inside = at < len(codes)
    at = np.minimum(at, max(len(codes) - 1, 0))
    if not len(codes):
        return np.full(len(chosen), -1, np.int64)
    found = inside & (codes[order][at] == wanted)
    rows: Ids = np.where(found, starts[order][at] + settles["slot"][chosen], -1)
    return rows


def _first(ids: Ids, count: int) -> Ids:
    """For each of ``count`` ids the first index at which it stands in ``ids``, or -1."""
    first = np.full(count, -1, np.int64)
    known = np.flatnonzero(ids >= 0)[::-1]
    first[ids[known]] = known  # of repeated indices the last assignment stays: the earliest delivery
    return first
