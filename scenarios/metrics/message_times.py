"""When each message was due, sent, settled and received: columns over all messages of a history.

``SendIndex`` numbers the sends over all producers, so that other tables join to them by a sum. Where several groups
each get every message, there is a row for every message and group.

Pure. All times are one host's monotonic clock. A saved history is read in stretches: 32 bytes a message stay.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from brokerbench.brokers.types import Outcome
from brokerbench.scenarios.history import Column, Columns, History, saved_history
from brokerbench.scenarios.history.message_ids import GAPS, dense_ids, first_ids
from brokerbench.scenarios.history.stamp import INTACT

Numbers = npt.NDArray[np.int64]


class SendIndex:
    """A message's number is the first of its producer's and its ``seq``, which has no gaps."""

    def __init__(self, history: History) -> None:
        self._table = history.sends
        parts = saved_history.stretches(self._table, ("producer",))
        self._firsts, self._counts = first_ids(part["producer"] for part in parts)

    def __len__(self) -> int:
        return int(self._counts.sum())

    def numbers(self, producer: Column, seq: Column) -> Numbers:
        """-1 where there is no such send."""
        return dense_ids(self._firsts, self._counts, producer, seq)

    def columns(self, *names: str) -> list[Numbers]:
        """Columns of whole numbers, by the messages' numbers. Raises ValueError where ``seq`` has gaps."""
        found = [np.empty(len(self), np.int64) for _ in names]
        seen = np.zeros(len(self), bool)
        for part in saved_history.stretches(self._table, ("producer", "seq", *names)):
            numbers = self.numbers(part["producer"], part["seq"])
            # As many rows as numbers: if a row has none, or two have the same, some number is not seen.
            seen[numbers[numbers >= 0]] = True
            for column, name in zip(found, names, strict=True):
                column[numbers] = part[name]
        if not seen.all():
            raise ValueError(GAPS)
        return found

    def of(self, producers: Sequence[int]) -> slice | Numbers:
        """The numbers of these producers' messages, ascending; a slice where they stand together."""
        meant = np.zeros(len(self._counts), bool)
        meant[[producer for producer in producers if producer < len(meant)]] = True
        senders = np.flatnonzero(meant & (self._counts > 0))
        if not len(senders):
            return slice(0, 0)
        first, last = self._firsts[senders], self._firsts[senders] + self._counts[senders]
        if (first[1:] == last[:-1]).all():
            return slice(int(first[0]), int(last[-1]))
        return np.concatenate([np.arange(*ends) for ends in zip(first, last, strict=True)])


Times = npt.NDArray[np.int64]

NEVER = np.iinfo(np.int64).max
"""The time of an event that did not occur: later than all others."""


@dataclass(frozen=True, slots=True)
class MessageTimes:
    """Parallel columns of nanoseconds, in order of ``due_ns``.

    ``settled_ns`` is NEVER for a send that was not acknowledged, ``received_ns`` (of the first delivery) without one.
    The rows of one message, one for each of ``groups``, stand together. ``sent_ns`` is NEVER for a message that was due
    and never sent: its sender gave up at ``given_up_ns``, so it was late by at least the time until then.
    """

    due_ns: Times
    sent_ns: Times
    settled_ns: Times
    received_ns: Times
    groups: int = 1
    given_up_ns: int = NEVER

    def __len__(self) -> int:
        return len(self.due_ns)

    def due_within(self, start_ns: int, end_ns: int) -> MessageTimes:
        """Messages due from ``start_ns`` until before ``end_ns``."""
        first, last = np.searchsorted(self.due_ns, [start_ns, end_ns])
        return self._rows(slice(int(first), int(last)), self.groups)

    def as_sent(self) -> MessageTimes:
        """One row for each message, for the times until the broker had it."""
        return self._rows(slice(None, None, self.groups), 1)

    def acknowledged(self) -> MessageTimes:
        """Only messages that the broker is known to have taken."""
        taken = self.settled_ns != NEVER
        return self if taken.all() else self._rows(taken, self.groups)

    def _rows(self, part: slice | npt.NDArray[np.bool_], groups: int) -> MessageTimes:
        due_ns, sent_ns, settled_ns = self.due_ns[part], self.sent_ns[part], self.settled_ns[part]
        return MessageTimes(due_ns, sent_ns, settled_ns, self.received_ns[part], groups, self.given_up_ns)

    def with_unsent(self, due_ns: Times, given_up_ns: int) -> MessageTimes:
        """With messages that were due at these times and never sent."""
        due_ns = np.append(self.due_ns, np.repeat(due_ns, self.groups))
        order = np.argsort(due_ns, kind="stable")
        never = np.full(len(due_ns) - len(self), NEVER)
        sent_ns, settled_ns, received_ns = (
            np.append(column, never)[order] for column in (self.sent_ns, self.settled_ns, self.received_ns)
        )
        return MessageTimes(due_ns[order], sent_ns, settled_ns, received_ns, self.groups, given_up_ns)

    def backlog_age_ns(self, at_ns: Times) -> Times:
        """At each time, how long the oldest message that was due and not yet received had been due; 0 without one.

        The first message received later than t is the first at which the running maximum of receive times exceeds t.
        """
        latest = np.maximum.accumulate(self.received_ns)
        oldest = np.searchsorted(latest, at_ns, "right")
        due_ns = np.append(self.due_ns, NEVER)[oldest]
        age_ns: Times = np.where(due_ns <= at_ns, at_ns - np.minimum(due_ns, at_ns), 0)
        return age_ns

    def of_group(self, at: int) -> MessageTimes:
        """The rows of one group, by its place among them."""
        return self._rows(slice(at, None, self.groups), 1)

    def underway(self, at_ns: Times) -> Times:
        """At each time (ascending), the messages that were sent and not yet received; of all groups together.

        Without those that the broker is not known to have taken: they wait for no consumer.
        """
        of = self.acknowledged()
        # Clocks of several hosts agree within their error only.
        waiting: Times = np.maximum(_until(of.sent_ns, at_ns) - _until(of.received_ns, at_ns), 0)
        return waiting

    def backlog(self, at_ns: Times) -> Times:
        """At each time (ascending), the messages that the broker had acknowledged and no consumer had received.

        Of several groups, those of all together. Never below 0: a message may be received before its send is answered.
        """
        settled = _until(np.maximum(self.settled_ns, self.sent_ns), at_ns)
        received = _until(self.received_ns, at_ns)
        waiting: Times = np.maximum(settled - received, 0)
        return waiting


def of_history(history: History) -> MessageTimes:
    """Times in all channels together. Raises ValueError for sends that are not numbered without gaps."""
    sends, groups = SendIndex(history), list(history.groups().values())
    if len(groups) < 2:
        return _in_order(*_ways(history, sends, 1, lambda part: np.zeros(len(part["seq"]), np.int64)))
    places = _ByNumber({reader: at for at, readers in enumerate(groups) for reader in readers})
    return _in_order(*_ways(history, sends, len(groups), lambda part: places.of(part["reader"])))


def of_channels(history: History) -> Iterator[tuple[str, MessageTimes]]:
    """Each channel that has producers, with the times of its messages; only its own consumers' deliveries count.

    Raises ValueError for sends that are not numbered without gaps.
    """
    channels = list(dict.fromkeys(str(mark["channel"]) for mark in history.events("producer")))
    if not channels:
        return
    groups = [list(history.groups(channel=channel).values()) for channel in channels]
    group_of, read_from, sent_to = dict[int, int](), dict[int, int](), dict[int, int]()
    for at, channel in enumerate(channels):
        sent_to |= dict.fromkeys(history.producers(channel=channel), at)
        for group, readers in enumerate(groups[at]):
            group_of |= dict.fromkeys(readers, group)
            read_from |= dict.fromkeys(readers, at)
    sources, targets, places = _ByNumber(read_from), _ByNumber(sent_to), _ByNumber(group_of)

    def whose(part: Columns) -> Column:
        own = sources.of(part["reader"]) == targets.of(part["producer"])
        return np.where(own, places.of(part["reader"]), -1)

    sends = SendIndex(history)
    due_ns, sent_ns, settled_ns, received_ns = _ways(history, sends, max(1, *map(len, groups)), whose)
    for at, channel in enumerate(channels):
        ours = sends.of(history.producers(channel=channel))
        theirs = [times[ours] for times in received_ns[: len(groups[at]) or 1]]
        yield channel, _in_order(due_ns[ours], sent_ns[ours], settled_ns[ours], theirs)


class _ByNumber:
    """Looks up a value by the number of a producer or reader; -1 for others."""

    def __init__(self, of: Mapping[int, int]) -> None:
        self._of = np.full(max(of, default=-1) + 2, -1, np.int64)
        self._of[list(of.keys())] = list(of.values())

    def of(self, numbers: Column) -> Column:
        unknown = len(self._of) - 1
        return self._of[np.where((numbers >= 0) & (numbers < unknown), numbers, unknown)]


def _ways(
    history: History, sends: SendIndex, groups: int, whose: Callable[[Columns], Column]
) -> tuple[Times, Times, Times, list[Times]]:
    """By the messages' numbers: due, sent, settled, and received by each group.

    ``whose``: the group of each delivery, from ``reader`` and ``producer``; -1 leaves it out.
    """
    due_ns, sent_ns = sends.columns("intended_ns", "sent_ns")
    settled_ns = np.full(len(sends), NEVER, np.int64)
    for part in saved_history.stretches(history.send_outcomes, ("producer", "seq", "settled_ns", "outcome")):
        fine = part["outcome"] == Outcome.ACKNOWLEDGED
        _earliest(settled_ns, sends, part, fine, "settled_ns")
    received_ns = [np.full(len(sends), NEVER, np.int64) for _ in range(groups)]
    for part in saved_history.stretches(history.deliveries, ("reader", "producer", "seq", "received_ns", "status")):
        group = whose(part)
        for at, times in enumerate(received_ns):
            _earliest(times, sends, part, (part["status"] == INTACT) & (group == at), "received_ns")
    return due_ns, sent_ns, settled_ns, received_ns


def _earliest(times: Times, sends: SendIndex, part: Columns, fine: npt.NDArray[np.bool_], name: str) -> None:
    """Into ``times``: for each message the earliest in column ``name`` of the rows that are ``fine``."""
    numbers = sends.numbers(part["producer"], part["seq"])
    rows = np.flatnonzero(fine & (numbers >= 0))
    np.minimum.at(times, numbers[rows], part[name][rows])


def _in_order(due_ns: Times, sent_ns: Times, settled_ns: Times, received_ns: Sequence[Times]) -> MessageTimes:
    """Rows in order of ``due_ns``, one for each group."""
    groups = len(received_ns)
    if (due_ns[1:] < due_ns[:-1]).any():
        order = np.argsort(due_ns, kind="stable")
        due_ns, sent_ns, settled_ns = due_ns[order], sent_ns[order], settled_ns[order]
        received_ns = [times[order] for times in received_ns]
    if groups == 1:
        return MessageTimes(due_ns, sent_ns, settled_ns, received_ns[0])
    due_ns, sent_ns, settled_ns = (np.repeat(times, groups) for times in (due_ns, sent_ns, settled_ns))
    return MessageTimes(due_ns, sent_ns, settled_ns, np.stack(received_ns, axis=1).ravel(), groups)


def _until(times: Times, at_ns: Times) -> Times:
    """How many of ``times`` are not later than each of ``at_ns`` (ascending). Looks are few: nothing is sorted."""
    counts: Times = np.cumsum(np.bincount(np.searchsorted(at_ns, times), minlength=len(at_ns) + 1)[:-1])
    return counts
