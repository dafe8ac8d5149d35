"""Deliveries of a faulty broker, row by row, and those that it withholds."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import starmap
from threading import Lock

import numpy as np

from brokerbench.brokers.faulty.faults import FaultName
from brokerbench.brokers.types import Received

Spot = tuple[int, int]
"""Partition and place: which message of a channel."""


@dataclass(frozen=True, slots=True)
class Row:
    """One delivery. ``source``: the inner delivery that settles it, and its index; ``None`` where there is none."""

    payload: bytes
    key: bytes | None
    partition: int
    place: int
    epoch_ns: int
    count: int
    attributes: Mapping[str, str]
    source: tuple[Received, int] | None

    @property
    def spot(self) -> Spot:
        return self.partition, self.place

    def again(self) -> Row:
        """The same message once more, without the inner broker's knowledge."""
        return replace(self, count=self.count + 1, source=None)


def rows_of(received: Received) -> list[Row]:
    attributes = received.attributes or [{}] * len(received)
    columns = zip(
        received.payloads,
        received.keys,
        received.partitions.tolist(),
        received.places.tolist(),
        received.broker_epoch_ns.tolist(),
        received.delivery_counts.tolist(),
        attributes,
        ((received, at) for at in range(len(received))),
        strict=True,
    )
    return list(starmap(Row, columns))


def received_of(rows: list[Row], shown: Sequence[Row]) -> Received:
    """``rows`` delivered as ``shown``: faults may have altered all that a consumer sees."""
    return Received(
        [row.payload for row in shown],
        [row.key for row in shown],
        np.array([row.partition for row in shown], np.int32),
        np.array([row.place for row in shown], np.int64),
        time.monotonic_ns(),
        np.array([row.epoch_ns for row in shown], np.int64),
        np.array([row.count for row in shown], np.int32),
        attributes=[row.attributes for row in rows] if any(row.attributes for row in rows) else None,
        handle=rows,
    )


class Withheld:
    """Deliveries that a group gets later, or once more.

    ``due``: at the next call; ``overtaken``: after a later row of its key; ``late``: at a time. Also remembers, for
    faults, settlements of the group until a message is redelivered.
    """

    def __init__(self) -> None:
        self._lock = Lock()
        self._due: list[Row] = []
        self._overtaken: list[tuple[FaultName, Row]] = []
        self._late: dict[Spot, tuple[int, Row]] = {}
        self._offered: deque[Row] = deque()
        self._owed = 0
        self._kept_for_ever = 0
        self._asked_for: set[Spot] = set()
        self._unanswered: set[Spot] = set()

    def put(self, row: Row) -> None:
        with self._lock:
            self._due.append(row)

    def hold(self, row: Row, name: FaultName) -> None:
        """Hold it until a later row of its key is delivered; ``name`` is the fault that does it."""
        with self._lock:
            self._overtaken.append((name, row))

    def take(self, count: int) -> list[Row]:
        with self._lock:
            taken, self._due = self._due[:count], self._due[count:]
            return taken

    def overtake(self, rows: Sequence[Row]) -> list[tuple[FaultName, Row]]:
        """Remove and return the held rows that one of ``rows`` has overtaken, in order."""
        with self._lock:
            passed = [entry for entry in self._overtaken if any(_is_later(row, entry[1]) for row in rows)]
            self._overtaken = [entry for entry in self._overtaken if entry not in passed]
            return passed

    def stop_holding(self) -> None:
        """No row came that could overtake: deliver the held rows next, in order."""
        with self._lock:
            self._due += [row for _, row in self._overtaken]
            self._overtaken = []

    def size(self) -> int:
        """Rows withheld, without late ones: the inner broker still counts those."""
        with self._lock:
            return len(self._due) + len(self._overtaken)

    def keep_for_ever(self) -> None:
        """One row is never delivered, and counted."""
        with self._lock:
            self._kept_for_ever += 1

    def never_delivered(self) -> int:
        with self._lock:
            return self._kept_for_ever

    def hold_until(self, due_ns: int, row: Row) -> None:
        with self._lock:
            self._late[row.spot] = due_ns, row

    def take_late(self, count: int, now_ns: int) -> list[Row]:
        with self._lock:
            due = [row for due_ns, row in self._late.values() if due_ns <= now_ns][:count]
            for row in due:
                del self._late[row.spot]
            return due

    def holds_late(self) -> bool:
        with self._lock:
            return bool(self._late)

    def owe_duplicate(self) -> None:
        """One delivery was withheld, and a duplicate shall replace it."""
        with self._lock:
            self._owed += 1

    def offer_duplicate(self, row: Row) -> None:
        """This row was acknowledged: its duplicate can replace a withheld one."""
        with self._lock:
            self._offered.append(row.again())

    def deliver_owed(self) -> list[Row]:
        """Make owed duplicates due, as far as some are offered, and return them."""
        with self._lock:
            count = min(self._owed, len(self._offered))
            paid = [self._offered.popleft() for _ in range(count)]
            self._owed -= count
            self._due += paid
            return paid

    def ask_for(self, row: Row) -> None:
        """A consumer released this row: expect it again."""
        with self._lock:
            self._asked_for.add(row.spot)

    def was_asked_for(self, row: Row) -> bool:
        """Ask once per redelivery."""
        return self._was_among(self._asked_for, row)

    def leave_unanswered(self, row: Row) -> None:
        with self._lock:
            self._unanswered.add(row.spot)

    def was_unanswered(self, row: Row) -> bool:
        """Ask once per redelivery."""
        return self._was_among(self._unanswered, row)

    def _was_among(self, spots: set[Spot], row: Row) -> bool:
        with self._lock:
            known = row.spot in spots
            spots.discard(row.spot)
            return known


def _is_later(row: Row, held: Row) -> bool:
    return row.key == held.key and row.partition == held.partition and row.place > held.place
