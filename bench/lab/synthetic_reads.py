"""Deliveries and settlements of a synthetic history, with their faults: see ``synthetic_history``."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from brokerbench.brokers.types import Outcome
from brokerbench.scenarios.history import Action, Column, Columns, Writer, select
from brokerbench.scenarios.history.stamp import CORRUPT, FOREIGN, INTACT

BATCH = 100
_DELIVERY_NS = 5_000_000
_ASKED_BEFORE_NS = 1_000
_ANSWERED_AFTER_NS = 1_000
_READ_EVERY_NS = 100
_OF_MESSAGE = ("producer", "seq", "partition", "place", "size", "checksum", "broker_epoch_ns")
# Rows of a partition's stretch with a fault; nothing else happens before and between them.
_LOST, _SWALLOWED, _PHANTOM, _ALTERED = 5_000, 5_100, 5_200, 5_300
_AGAIN, _LATER = 5_400, 5_900
_OVERTAKEN_FROM = 6_000
_NOTHING_ELSE = slice(4_900, 6_900)
# Of the other rows, one in this many ...
_RELEASED_EVERY, _LAPSED_EVERY, _FAILING_EVERY = 1_000, 2_000, 4_000
# ... is redelivered after this many rows.
_RELEASED_FOR, _LAPSED_FOR = 10 * BATCH, 100 * BATCH
_ROLES_END = 2 * _LAPSED_FOR


@dataclass(frozen=True, slots=True)
class Sends:
    """Messages in order of sending: columns of ``sends``, and row, partition, place, outcome and original (a row)."""

    columns: Columns

    def __getitem__(self, name: str) -> Column:
        return self.columns[name]

    def __len__(self) -> int:
        return len(self["row"])

    def only(self, rows: Column) -> Sends:
        return Sends(select(self.columns, rows))

    def with_taken_place(self, place: Column) -> Column:
        """Give the new message that is wrongly swallowed the place of an earlier one."""
        place[_SWALLOWED] = place[_LOST - 1]
        return place


@dataclass(slots=True)
class SyntheticReader:
    writer: Writer
    number: int
    batch: int = 0
    place: int = 0
    """In a channel of its own."""
    rows: int = 0


def read_partition(reader: SyntheticReader, sent: Sends) -> Sends:
    """Write a consumer's deliveries and settlements of one stretch of its partition. Returns the dead letters."""
    row, count, action, status = _deliveries(sent)
    # Received when the last of the batch was sent, and some.
    at = np.arange(len(row))
    last = sent["sent_ns"][np.minimum((at // BATCH + 1) * BATCH, len(sent)) - 1]
    got = _columns(sent.only(row), reader, last + _DELIVERY_NS, count)
    got["status"] = status
    got["checksum"][status == CORRUPT] = 0
    for name in ("producer", "seq", "broker_key", "place"):
        got[name][status == FOREIGN] = -1
    _write(reader, got, action)
    failing = sent.only(np.flatnonzero(_every(sent, _FAILING_EVERY, 3)))
    wrong = sent.only(np.array([_AGAIN]))
    return Sends({name: np.concatenate([failing[name][1:], wrong[name]]) for name in sent.columns})


def read_letters(reader: SyntheticReader, letters: Sends, began_ns: int) -> None:
    """In a channel with one partition and places of its own; one consumer reads and acknowledges all."""
    received = _once_a_batch(began_ns, reader.rows, len(letters))
    got = _columns(letters, reader, received, np.ones(len(letters), np.int32))
    got["partition"][:] = 0
    got["place"] = reader.place + np.arange(len(letters))
    reader.place += len(letters)
    _write(reader, got, np.full(len(letters), Action.ACKNOWLEDGE, np.int8))


def read_again(reader: SyntheticReader, sent: Sends, began_ns: int) -> None:
    """Everything that lies in the partition, in order of place, but one message."""
    there = np.flatnonzero((sent["row"] == sent["original"]) & (sent["outcome"] != Outcome.REJECTED))
    there = np.setdiff1d(there, [_LOST, _SWALLOWED, _AGAIN])
    received = _once_a_batch(began_ns, reader.rows, len(there))
    _write(reader, _columns(sent.only(there), reader, received, np.zeros(len(there), np.int32)), None)


def _deliveries(sent: Sends) -> tuple[Column, ...]:
    """In order of delivery: row of the message, which delivery of it this is, what was done (-1: nothing), status."""
    delivered = np.ones(len(sent), bool)
    delivered[sent["row"] != sent["original"]] = False
    delivered[np.flatnonzero(~delivered)[:1]] = True  # a repeat that is delivered nevertheless
    delivered[sent["outcome"] == Outcome.REJECTED] = False
    delivered[[_LOST, _SWALLOWED]] = False
    row = np.flatnonzero(delivered)
    _overtake(sent, row)
    count, action = np.ones(len(row), np.int32), np.full(len(row), Action.ACKNOWLEDGE, np.int8)
    status = np.full(len(row), INTACT, np.int8)
    status[_ALTERED] = CORRUPT
    released, lapsed, failing = (
        np.flatnonzero(_every(sent, every, phase)[row])
        for every, phase in ((_RELEASED_EVERY, 1), (_LAPSED_EVERY, 2), (_FAILING_EVERY, 3))
    )
    action[released], action[lapsed], action[failing] = Action.RELEASE, -1, Action.RELEASE
    back = np.concatenate([released + _RELEASED_FOR, failing + _RELEASED_FOR, lapsed + _LAPSED_FOR, [_LATER, _PHANTOM]])
    of = np.concatenate([released, failing, lapsed, [_AGAIN, 0]])
    again = np.full(len(of), 2, np.int32)
    again[-2:] = 1  # counted wrongly; the phantom is of no message
    done = np.full(len(of), Action.ACKNOWLEDGE, np.int8)
    done[len(released) : len(released) + len(failing)] = Action.RELEASE
    kind = np.full(len(of), INTACT, np.int8)
    kind[-1] = FOREIGN
    more = ((row, row[of]), (count, again), (action, done), (status, kind))
    return tuple(np.insert(column, back, values) for column, values in more)


def _overtake(sent: Sends, row: Column) -> None:
    """Swap two consecutive messages of one key and producer."""
    line = sent["key"][row] * 64 + sent["producer"][row]
    tail = np.argsort(line[_OVERTAKEN_FROM:], kind="stable") + _OVERTAKEN_FROM
    pairs = np.flatnonzero(line[tail[1:]] == line[tail[:-1]])
    earlier, later = tail[pairs[0]], tail[pairs[0] + 1]
    row[[earlier, later]] = row[[later, earlier]]


def _every(sent: Sends, every: int, phase: int) -> Column:
    """One in ``every`` messages that were sent for the first time and acknowledged, away from faults and the end."""
    chosen: Column = np.arange(len(sent)) % every == phase
    chosen &= (sent["row"] == sent["original"]) & (sent["outcome"] == Outcome.ACKNOWLEDGED)
    chosen[_NOTHING_ELSE] = False
    chosen[-_ROLES_END:] = False
    return chosen


def _once_a_batch(began_ns: int, first: int, count: int) -> Column:
    at: Column = (first + np.arange(count)) // BATCH
    return began_ns + at * BATCH * _READ_EVERY_NS


def _columns(of: Sends, reader: SyntheticReader, received_ns: Column, count: Column) -> dict[str, Column]:
    at = np.arange(len(of))
    reader.rows += len(of)
    return {
        **{name: of[name].copy() for name in _OF_MESSAGE},
        "broker_key": of["key"].copy(),
        "reader": np.full(len(of), reader.number, np.int32),
        "batch": reader.batch + at // BATCH,
        "slot": (at % BATCH).astype(np.int32),
        "asked_ns": received_ns - _ASKED_BEFORE_NS,
        "received_ns": received_ns,
        "delivery_count": count,
        "status": np.full(len(of), INTACT, np.int8),
    }


def _write(reader: SyntheticReader, got: Columns, action: Column | None) -> None:
    reader.writer.rows("deliveries", got)
    reader.batch = int(got["batch"][-1]) + 1
    if action is None:
        return
    asked = np.flatnonzero(action >= 0)
    asked_ns = got["received_ns"][asked] + _ANSWERED_AFTER_NS
    reader.writer.rows(
        "acknowledgements",
        {
            **{name: got[name][asked] for name in ("reader", "batch", "slot")},
            "action": action[asked],
            "outcome": np.full(len(asked), Outcome.ACKNOWLEDGED, np.int8),
            "asked_ns": asked_ns,
            "settled_ns": asked_ns + _ANSWERED_AFTER_NS,
        },
    )
