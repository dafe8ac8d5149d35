"""Checks that every adapter makes of its caller: one thread at a time, an open object, a well-formed batch."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from threading import Lock
from typing import Protocol, TypeVar

import numpy as np

from brokerbench.brokers.errors import Misuse
from brokerbench.brokers.types import Batch, Indices, IntColumn


class ThreadGuard:
    """A context manager that lets one thread in and turns the second away with ``Misuse``."""

    __slots__ = ("_closed", "_lock", "_what")

    def __init__(self, what: str) -> None:
        self._what = what
        self._lock = Lock()
        self._closed = False

    def __enter__(self) -> None:
        if not self._lock.acquire(blocking=False):
            raise Misuse(f"{self._what} is used by two threads at once")
        if self._closed:
            self._lock.release()
            raise Misuse(f"{self._what} is closed")

    def __exit__(self, *_: object) -> None:
        self._lock.release()

    def close(self) -> bool:
        """Turn away all further entries; True the first time. Raises Misuse while another thread is inside."""
        if not self._lock.acquire(blocking=False):
            raise Misuse(f"{self._what} is used by two threads at once")
        first = not self._closed
        self._closed = True
        self._lock.release()
        return first


class Closeable(Protocol):
    def close(self) -> object: ...


_Thing = TypeVar("_Thing", bound=Closeable)


class Opened:
    """The producers, consumers and readers that are open on a connection: ``things``, in order of opening."""

    def __init__(self, *last: Callable[[], object]) -> None:
        """``last`` close what all of these share: called once, in this order, when nothing is open any more."""
        self.things: list[Closeable] = []
        self._last = ExitStack()
        for end in reversed(last):
            self._last.callback(end)

    def add(self, thing: _Thing) -> _Thing:
        """Close it with the connection."""
        self.things.append(thing)
        return thing

    def close(self) -> None:
        """Close and forget all, the last first. A failure keeps no other open, and is raised at the end.

        A thing with another thread inside raises Misuse and stays, for the next call. Of several errors the first is
        raised with the others as notes; Misuse comes last, as closing again may mend it.
        """
        failed: list[Exception] = []
        busy: list[Exception] = []
        for thing in reversed(self.things.copy()):
            try:
                thing.close()
            except Misuse as misuse:
                busy.append(misuse)
                continue
            except Exception as problem:
                failed.append(problem)
            self.things.remove(thing)
        if not self.things:
            try:
                self._last.close()
            except Exception as problem:
                failed.append(problem)
        if errors := failed + busy:
            for other in errors[1:]:
                errors[0].add_note(f"closing also failed with: {other!r}")
            raise errors[0]


def check(batch: Batch) -> None:
    """Raises Misuse when the columns of a batch differ in length."""
    count = len(batch.payloads)
    for name in ("keys", "dedup_ids", "attributes"):
        column = getattr(batch, name)
        if column is not None and len(column) != count:
            raise Misuse(f"batch has {count} payloads but {len(column)} {name}")


def check_count(max_messages: int) -> None:
    """Raises Misuse when nothing is asked for: an empty answer would look like an empty channel."""
    if max_messages < 1:
        raise Misuse(f"max_messages must be at least 1, not {max_messages}")


def chosen(indices: Indices, count: int) -> IntColumn:
    """``Indices`` as a column; ``None`` means all of ``count``. Raises Misuse beyond the end or twice."""
    if indices is None:
        return np.arange(count, dtype=np.int64)
    column = np.asarray(indices, np.int64)
    if column.size and (column.min() < 0 or column.max() >= count):
        raise Misuse(f"an index is outside of the {count} received messages")
    if len(np.unique(column)) != len(column):
        raise Misuse("an index occurs twice")
    return column
