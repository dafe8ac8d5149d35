"""Rows of one channel in columns: what was sent, what was delivered, what became of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import numpy.typing as npt

from brokerbench.scenarios.history import Action, Column, Columns, message_ids
from brokerbench.scenarios.history.message_ids import Ids

NEVER = np.iinfo(np.int64).max

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
        return message_ids.among(self.producer, producers)

    def describe(self, message: int) -> dict[str, object]:
        return {
            "producer": int(self.producer[message]),
            "seq": int(self.seq[message]),
            "key": int(self.key[message]),
        }


@dataclass(frozen=True, slots=True)
class Pairs:
    """Neighbouring deliveries of one message, as indices, in order of the later one."""

    earlier: Ids
    later: Ids


@dataclass(frozen=True)
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
        """What these readers got. Always the same value, so that what it keeps is shared."""
        if tuple(readers) not in self._to:
            self._to[tuple(readers)] = self.only(message_ids.among(self.column("reader"), readers))
        return self._to[tuple(readers)]

    @cached_property
    def _to(self) -> dict[tuple[int, ...], Delivered]:
        return {}

    def known(self) -> Delivered:
        """Those that are of some message. Always the same value, so that what it keeps is shared."""
        return self if self._known is None else self._known

    @cached_property
    def _known(self) -> Delivered | None:
        """None for all of them: a value that kept itself would be garbage, not free, after its use."""
        known = self.message >= 0
        return None if known.all() else self.only(known)

    def first(self, messages: int) -> Ids:
        """For each of ``messages`` ids the index of its first delivery, or -1. Not to be written to."""
        if messages not in self._firsts:
            self._firsts[messages] = _first(self.message, messages)
        return self._firsts[messages]

    @cached_property
    def _firsts(self) -> dict[int, Ids]:
        return {}

    @cached_property
    def settled(self) -> dict[Action, Settled]:
        """What became of these by each action that a checker asked its record for."""
        return {}

    @cached_property
    def done_ns(self) -> dict[int, Ids]:
        """By number of messages: what ``times.done_ns`` found."""
        return {}

    @cached_property
    def pairs(self) -> Pairs:
        return _pairs(self.message)

    def describe(self, at: int) -> dict[str, object]:
        row = self.rows[at]
        names = ("reader", "batch", "slot", "partition", "place", "received_ns")
        return {name: int(self.source[name][row]) for name in names}


@dataclass(frozen=True, slots=True)
class Settled:
    """For each delivery: when its settlement was asked for and when the answer came (NEVER where not), by action."""

    asked_ns: Ids
    settled_ns: Ids
    """Only where the broker answered yes."""


def never_asked(count: int) -> Settled:
    """Of deliveries for which nothing was asked: takes no room."""
    never = np.broadcast_to(np.int64(NEVER), count)
    return Settled(never, never)


def _first(ids: Ids, count: int) -> Ids:
    """For each of ``count`` ids the first index at which it stands in ``ids``, or -1."""
    first = np.full(count, -1, np.int64)
    known = np.flatnonzero(ids >= 0)[::-1]
    first[ids[known]] = known  # of repeated indices the last assignment stays: the earliest delivery
    return first


def _pairs(message: Ids) -> Pairs:
    """Every redelivery with the delivery before it. Only what was delivered more than once is sorted."""
    often = np.bincount(message[message >= 0], minlength=1) > 1
    repeated = np.flatnonzero((message >= 0) & often[np.maximum(message, 0)])
    order = repeated[np.argsort(message[repeated], kind="stable")]
    same = message[order[1:]] == message[order[:-1]]
    earlier, later = order[:-1][same], order[1:][same]
    by_time = np.argsort(later)
    return Pairs(earlier[by_time], later[by_time])
