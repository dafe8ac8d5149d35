"""Rows of one channel in columns: sends, deliveries, and the settlements of these; and the facts that shards need."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
import numpy.typing as npt

from brokerbench.brokers.types import Outcome
from brokerbench.scenarios.history import Action, Column, Columns, History, Mark, message_ids
from brokerbench.scenarios.history.message_ids import Ids, stable_order

NEVER = np.iinfo(np.int64).max

Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Sent:
    """Sends of one channel by id. Where the broker told no place, ``partition`` is -1 and ``place`` NO_PLACE."""

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
        return message_ids.among(self.producer, producers)

    def unknown(self, producers: Sequence[int]) -> int:
        """How many sends of these producers have an unknown fate."""
        return int((self.by(producers) & (self.outcome == Outcome.UNKNOWN)).sum())

    def describe(self, message: int) -> dict[str, object]:
        return {name: int(getattr(self, name)[message]) for name in ("producer", "seq", "key")}

    def describe_with_place(self, message: int) -> dict[str, object]:
        place = {"partition": int(self.partition[message]), "place": int(self.place[message])}
        return {**self.describe(message), **place}


@dataclass(frozen=True, slots=True)
class Pairs:
    """Neighbouring deliveries of one message, as indices, in order of the later one."""

    earlier: Ids
    later: Ids


@dataclass(frozen=True, slots=True)
class Settled:
    """By delivery: when its settlement by one action was asked for and when it was answered; NEVER where it was not."""

    asked_ns: Ids
    settled_ns: Ids
    """Only where the broker answered yes."""


class Settlements:
    """All settlements of a history, joined to its deliveries when they are first asked for, and kept by action."""

    def __init__(self, history: History) -> None:
        self._history = history
        self._by_action: dict[Action, Settled | None] = {}

    @cached_property
    def delivery_of(self) -> Ids:
        """For each row of the history's acknowledgements the row of its delivery, or -1."""
        return message_ids.rows_of_acknowledgements(self._history.deliveries, self._history.acknowledgements)

    def by(self, action: Action, rows: Ids) -> Settled:
        """Settlements of the deliveries in these rows of the history."""
        if action not in self._by_action:
            self._by_action[action] = self._of_all(action)
        found = self._by_action[action]
        if found is None:
            never = np.broadcast_to(np.int64(NEVER), len(rows))  # takes no room
            return Settled(never, never)
        return Settled(found.asked_ns[rows], found.settled_ns[rows])

    def _of_all(self, action: Action) -> Settled | None:
        """For every row of the history's deliveries; None where the action was never asked for."""
        acknowledgements = self._history.acknowledgements
        chosen = np.flatnonzero((acknowledgements["action"] == action) & (self.delivery_of >= 0))
        if not len(chosen):
            return None
        asked = np.full(len(self._history.deliveries["slot"]), NEVER, np.int64)
        answered = asked.copy()
        if len(chosen) == len(self.delivery_of):
            chosen = slice(None)  # type: ignore[assignment]  # all: views instead of copies
        rows, outcome = self.delivery_of[chosen], acknowledgements["outcome"][chosen]
        asked[rows] = acknowledgements["asked_ns"][chosen]
        fine = outcome == Outcome.ACKNOWLEDGED
        answered[rows[fine]] = acknowledgements["settled_ns"][chosen][fine]
        return Settled(asked, answered)


@dataclass(eq=False)
class Delivered:
    """Deliveries in order of delivery. ``message`` is an id of ``Sent``, of which there are ``messages``, or -1.

    Keeps results that several checkers need: parts by reader, settlements by action, first deliveries, pairs.
    """

    source: Columns
    rows: Ids
    message: Ids
    messages: int
    settlements: Settlements
    _parts: dict[tuple[int, ...], Delivered] = field(default_factory=dict, init=False, repr=False)
    _settled: dict[Action, Settled] = field(default_factory=dict, init=False, repr=False)

    def __len__(self) -> int:
        return len(self.rows)

    def column(self, name: str) -> Column:
        return self.source[name][self.rows]

    def only(self, rows: Mask | Ids) -> Delivered:
        return replace(self, rows=self.rows[rows], message=self.message[rows])

    def to(self, readers: Sequence[int]) -> Delivered:
        """Deliveries to these readers; for the same readers the same object."""
        key = tuple(readers)
        if key not in self._parts:
            self._parts[key] = self.only(message_ids.among(self.column("reader"), readers))
        return self._parts[key]

    def known(self) -> Delivered:
        """Deliveries that are of some message; always the same object."""
        return self if self._known is None else self._known

    @cached_property
    def _known(self) -> Delivered | None:
        """None where all are: an object that refers to itself would not be freed after its use."""
        known = self.message >= 0
        return None if known.all() else self.only(known)

    def settled(self, action: Action) -> Settled:
        """Settlements of these deliveries by one action."""
        if action not in self._settled:
            self._settled[action] = self.settlements.by(action, self.rows)
        return self._settled[action]

    @cached_property
    def first(self) -> Ids:
        """By message the index of its first delivery, or -1. Not to be written to."""
        return _first(self.message, self.messages)

    @cached_property
    def done_ns(self) -> Ids:
        """By message: when the first acknowledgement of any of its deliveries was answered with yes; NEVER where none.

        Not to be written to.
        """
        done = np.full(self.messages, NEVER, np.int64)
        known = self.message >= 0
        np.minimum.at(done, self.message[known], self.settled(Action.ACKNOWLEDGE).settled_ns[known])
        return done

    @cached_property
    def pairs(self) -> Pairs:
        return _pairs(self.message)

    def describe(self, at: int) -> dict[str, object]:
        row = self.rows[at]
        names = ("reader", "batch", "slot", "partition", "place", "received_ns")
        return {name: int(self.source[name][row]) for name in names}


def _first(ids: Ids, count: int) -> Ids:
    """For each of ``count`` ids the first index at which it stands in ``ids``, or -1."""
    first = np.full(count, -1, np.int64)
    known = np.flatnonzero(ids >= 0)[::-1]
    first[ids[known]] = known  # of repeated indices the last assignment stays: the earliest delivery
    return first


def _pairs(message: Ids) -> Pairs:
    """Every redelivery with the delivery before it. Only messages delivered more than once are sorted."""
    often = np.bincount(message[message >= 0], minlength=1) > 1
    repeated = np.flatnonzero((message >= 0) & often[np.maximum(message, 0)])
    order = repeated[np.argsort(message[repeated], kind="stable")]
    same = message[order[1:]] == message[order[:-1]]
    earlier, later = order[:-1][same], order[1:][same]
    by_time = np.argsort(later)
    return Pairs(earlier[by_time], later[by_time])


@dataclass(frozen=True, slots=True)
class Reach:
    """How far a reader had come in one partition: one entry for each time at which it came further, both ascending."""

    received_ns: Ids
    highest: Ids
    """The highest place received by then; NO_PLACE where there are no places."""


@dataclass(frozen=True, slots=True)
class Identities:
    """Identities that were given to messages, for deduplication by the broker: columns of one length."""

    producer: Ids
    seq: Ids
    identity: Ids
    shared: Mask
    """Whether another message has it too."""


@dataclass(frozen=True, slots=True)
class Whole:
    last_sent_ns: Mapping[int, int]
    """By producer."""
    events_ns: Mapping[int, Ids]
    """By reader: every time at which one of its calls ended, ascending."""
    reach: Mapping[int, Mapping[int, Reach]] = field(default_factory=dict)
    """By reader, of those that made an attempt to read again, and by partition."""
    identities: Identities = field(default_factory=lambda: identities([]))


def identities(marks: Sequence[Mark]) -> Identities:
    """From ``identities`` marks: each gives those of consecutive sends of one producer."""
    none = np.empty(0, np.int64)
    given = [np.array(mark["identities"], np.int64) for mark in marks]
    counts = [len(part) for part in given]
    identity = np.concatenate([none, *given])
    producer = np.repeat(np.array([mark["producer"] for mark in marks], np.int64), counts)
    seq = [int(mark["first_seq"]) + np.arange(count) for mark, count in zip(marks, counts, strict=True)]
    _, alike, often = np.unique(identity, return_inverse=True, return_counts=True)
    return Identities(producer, np.concatenate([none, *seq]), identity, often[alike] > 1)


def reach(parts: Sequence[Reach]) -> Reach:
    """Joins several looks at one reader and partition, given in any order and not empty."""
    received = np.concatenate([part.received_ns for part in parts])
    order = stable_order(received)
    highest = np.maximum.accumulate(np.concatenate([part.highest for part in parts])[order])
    received = received[order]
    # Of the entries of one time the last holds.
    last = np.flatnonzero(np.append(received[1:] != received[:-1], True))
    received, highest = received[last], highest[last]
    further = np.flatnonzero(np.append(True, highest[1:] != highest[:-1]))
    return Reach(received[further], highest[further])


def reach_of(rows: Columns) -> dict[int, Reach]:
    """By partition, from deliveries of one reader: columns partition, place, received_ns."""
    partition = rows["partition"]
    return {number: _reach_in(rows, partition == number) for number in np.unique(partition).tolist()}


def _reach_in(rows: Columns, here: Column) -> Reach:
    return reach([Reach(rows["received_ns"][here], rows["place"][here])])
