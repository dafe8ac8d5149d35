"""The history of a cell: columns on disk, written while the cell runs, read back to be judged.

A history is a directory. Every writer (one producer or one consumer, in any process) has files of its own, so that
writers never meet, and long tables have several; ``saved_history.load`` joins them. Four tables and one list:

======================  =====================================================================================
``sends.*.parquet``     one row a message handed to ``send``: producer, seq, key, size, checksum, intended_ns, sent_ns
``send_outcomes.*``     one row a settled send: producer, seq, settled_ns, outcome, partition, place
``deliveries.*``        one row a delivered message: reader, batch, slot, producer, seq, broker_key, partition, place,
                        broker_epoch_ns, asked_ns, received_ns, delivery_count, size, checksum, status (see stamp.py)
``acknowledgements.*``  one row an action on a delivery (acknowledge, release, reject, extend): reader, batch, slot,
                        action, outcome, asked_ns, settled_ns
``marks.*.jsonl``       events in words: format version, readers and producers with their attributes, phases, proofs
                        of drains, refusals, the first reasons for sends that were not acknowledged, what was left
                        out, identities for deduplication (of consecutive sends)
======================  =====================================================================================

``seq`` counts a producer's sends from 0 without gaps and equals its ticket. ``reader`` numbers consumers *and* replay
readers over the cell; its ``reader`` mark says what it is (kind, group, phase). ``*_ns`` are this host's monotonic
clock. A send without an outcome row is UNKNOWN. ``broker_key`` is the number of the key under which the broker
delivered (see broker_keys.py), UNTOLD_KEY where the consumer asked for no details (load processes do not);
``broker_epoch_ns`` is NO_TIME then, and where the broker keeps no time. ``asked_ns`` is when the call began that
delivered or settled; ``received_ns`` and ``settled_ns`` lie between the beginning and the end of such a call: the
clients that record see to it (``clients/call_times.py``).

Format 2 had neither ``broker_key`` nor ``asked_ns`` in its deliveries (they read as untold), but ``key``, of the stamp.
Format 1 had no version in its marks, and named two tables ``settled`` (send_outcomes) and ``settles``
(acknowledgements). Readers accept both.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum
from functools import lru_cache
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from brokerbench.brokers.types import NO_TIME, Outcome, Received, Settlements
from brokerbench.scenarios.history import stamp
from brokerbench.scenarios.history.broker_keys import UNTOLD_KEY, KeyNumbers
from brokerbench.scenarios.history.parquet_table import Table, background

Column = npt.NDArray[Any]
Columns = Mapping[str, Column]
Mark = Mapping[str, Any]


FORMAT = 3
"""Version of the files, in a ``format`` mark of every writer."""


class Action(IntEnum):
    """The action asked for on a delivery."""

    ACKNOWLEDGE = 0
    RELEASE = 1
    REJECT = 2
    EXTEND = 3


def _schema(**columns: pa.DataType) -> pa.Schema:
    return pa.schema([pa.field(name, kind, nullable=False) for name, kind in columns.items()])


_I8, _I32, _I64, _U64 = pa.int8(), pa.int32(), pa.int64(), pa.uint64()

SCHEMAS: Mapping[str, pa.Schema] = {
    "sends": _schema(producer=_I32, seq=_I64, key=_I64, size=_I32, checksum=_U64, intended_ns=_I64, sent_ns=_I64),
    "send_outcomes": _schema(producer=_I32, seq=_I64, settled_ns=_I64, outcome=_I8, partition=_I32, place=_I64),
    "deliveries": _schema(
        reader=_I32,
        batch=_I64,
        slot=_I32,
        producer=_I32,
        seq=_I64,
        broker_key=_I64,
        partition=_I32,
        place=_I64,
        broker_epoch_ns=_I64,
        asked_ns=_I64,
        received_ns=_I64,
        delivery_count=_I32,
        size=_I32,
        checksum=_U64,
        status=_I8,
    ),
    "acknowledgements": _schema(
        reader=_I32, batch=_I64, slot=_I32, action=_I8, outcome=_I8, asked_ns=_I64, settled_ns=_I64
    ),
}
UNTOLD: Mapping[str, Mapping[str, int]] = {"deliveries": {"broker_key": UNTOLD_KEY, "asked_ns": NO_TIME}}
"""By table, the columns that older formats have not, and their value there."""


@lru_cache(maxsize=64)
def _slots(count: int) -> Column:
    return np.arange(count, dtype=np.int32)


class Writer:
    """Writes one part of a history. For one thread; open one for each producer or consumer."""

    def __init__(self, directory: Path, name: str, run: int) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self._run = run
        self._key_numbers = KeyNumbers()
        self._background = background()
        self._tables = {
            kind: Table(directory / f"{kind}.{name}.parquet", schema, self._background)
            for kind, schema in SCHEMAS.items()
        }
        self._marks = (directory / f"marks.{name}.jsonl").open("a", encoding="utf-8")
        self.mark("format", version=FORMAT)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def mark(self, event: str, **attributes: Any) -> None:
        """Record an event with both clocks. Attributes must be fit for JSON."""
        row = {"event": event, "at_ns": time.monotonic_ns(), "at_epoch_ns": time.time_ns(), **attributes}
        self._marks.write(json.dumps(row) + "\n")
        self._marks.flush()

    def sends(
        self,
        producer: int,
        seqs: Column,
        keys: Column,
        size: Column | int,
        checksums: Column,
        intended_ns: Column | int,
        sent_ns: Column | int,
    ) -> None:
        """``intended_ns`` is the schedule's time (open loop), or the time of sending in a closed loop."""
        self._tables["sends"].append(
            len(seqs),
            {
                "producer": producer,
                "seq": seqs,
                "key": keys,
                "size": size,
                "checksum": checksums,
                "intended_ns": intended_ns,
                "sent_ns": sent_ns,
            },
        )

    def send_outcomes(self, producer: int, settlements: Settlements) -> None:
        self._tables["send_outcomes"].append(
            len(settlements),
            {
                "producer": producer,
                "seq": settlements.tickets,
                "settled_ns": settlements.settled_ns,
                "outcome": settlements.outcomes,
                "partition": settlements.partitions,
                "place": settlements.places,
            },
        )

    def deliveries(
        self, reader: int, batch: int, received: Received, asked_ns: int = NO_TIME, *, details: bool = True
    ) -> stamp.Stamps:
        """Verify and record one received batch; returns its stamps. ``batch`` numbers the reader's receives.

        ``asked_ns``: when the call began. ``details``: the reader asked for the keys.
        """
        count = len(received)
        stamps = stamp.read(received.payloads, self._run)
        keys: Column | int = UNTOLD_KEY
        if details and count:
            keys = np.array(self._key_numbers.of(received.keys), np.int64)
        self._tables["deliveries"].append(
            count,
            {
                "reader": reader,
                "batch": batch,
                "slot": _slots(count),
                "producer": stamps.producer,
                "seq": stamps.seq,
                "broker_key": keys,
                "partition": received.partitions,
                "place": received.places,
                "broker_epoch_ns": received.broker_epoch_ns,
                "asked_ns": asked_ns,
                "received_ns": received.received_ns,
                "delivery_count": received.delivery_counts,
                "size": stamps.size,
                "checksum": stamps.checksum,
                "status": stamps.status,
            },
        )
        return stamps

    def acknowledgements(
        self, reader: int, batch: int, action: Action, settlements: Settlements, asked_ns: int
    ) -> None:
        """``settlements.tickets`` are the slots within the batch."""
        self._tables["acknowledgements"].append(
            len(settlements),
            {
                "reader": reader,
                "batch": batch,
                "slot": settlements.tickets,
                "action": action,
                "outcome": settlements.outcomes,
                "asked_ns": asked_ns,
                "settled_ns": settlements.settled_ns,
            },
        )

    @property
    def background_cpu_ns(self) -> int:
        """CPU time of writing full row groups; complete after ``close``. The rest counts to the caller's thread."""
        return sum(table.background_cpu_ns for table in self._tables.values())

    def rows(self, kind: str, columns: Columns) -> None:
        """Append rows to one table as they are, for histories that no run wrote."""
        self._tables[kind].append(len(next(iter(columns.values()))), columns)

    def close(self) -> None:
        try:
            for table in self._tables.values():
                table.close()
        finally:
            self._background.shutdown()
            self._marks.close()


@dataclass(frozen=True, slots=True)
class History:
    """A history in memory: each table as a mapping of NumPy columns, marks in order of time."""

    sends: Columns
    send_outcomes: Columns
    deliveries: Columns
    acknowledgements: Columns
    marks: Sequence[Mapping[str, Any]]

    def events(self, event: str, **attributes: Any) -> Iterator[Mapping[str, Any]]:
        """Marks of that event whose attributes have these values."""
        for mark in self.marks:
            if mark["event"] == event and all(mark.get(name) == value for name, value in attributes.items()):
                yield mark

    def readers(self, **attributes: Any) -> list[int]:
        """Numbers of the readers whose ``reader`` mark has these attributes."""
        return [int(mark["reader"]) for mark in self.events("reader", **attributes)]

    def producers(self, **attributes: Any) -> list[int]:
        return [int(mark["producer"]) for mark in self.events("producer", **attributes)]

    def groups(self, **attributes: Any) -> dict[str, list[int]]:
        """Readers of each group of consumers with these attributes in their marks; groups in order of their first."""
        found: dict[str, list[int]] = {}
        for mark in self.events("reader", kind="consumer", **attributes):
            found.setdefault(str(mark.get("group", "")), []).append(int(mark["reader"]))
        return dict(sorted(found.items(), key=lambda entry: min(entry[1])))

    def outcomes(self) -> Column:
        """Outcome of each row of ``sends`` (int8); UNKNOWN where there is none."""
        return self.outcome_column("outcome", int(Outcome.UNKNOWN))

    def outcome_column(self, name: str, missing: int) -> Column:
        """A column of ``send_outcomes``, joined to the rows of ``sends`` by producer and seq."""
        outcomes = self.send_outcomes
        source = outcomes[name]
        out = np.full(len(self.sends["seq"]), missing, source.dtype)
        for producer in np.unique(outcomes["producer"]):
            theirs = np.flatnonzero(outcomes["producer"] == producer)
            theirs = theirs[strongest(outcomes["seq"][theirs], outcomes["outcome"][theirs])]
            seqs = outcomes["seq"][theirs]
            table = np.full(int(seqs.max()) + 1, missing, source.dtype)
            table[seqs] = source[theirs]
            ours = np.flatnonzero(self.sends["producer"] == producer)
            wanted = self.sends["seq"][ours]
            inside = wanted < len(table)
            out[ours[inside]] = table[wanted[inside]]
        return out


_STRENGTH = {Outcome.UNKNOWN: 0, Outcome.REJECTED: 1, Outcome.ACKNOWLEDGED: 2}


def strongest(ids: Column, outcome: Column) -> Column | slice:
    """Of rows of outcomes, by the messages' ids (0 and up), those to go by: one a message, the first of its strongest.

    A message that was told acknowledged is promised to arrive, whatever is told of it beside; one told rejected, never
    to. Everything, where no message has two.
    """
    seen = np.zeros(int(ids.max(initial=-1)) + 1, bool)
    seen[ids] = True
    if int(seen.sum()) == len(ids):
        return slice(None)
    strength = np.zeros(len(_STRENGTH), np.int8)
    strength[list(_STRENGTH)] = list(_STRENGTH.values())
    order = np.lexsort([-strength[outcome], ids])  # stable: of equals the first comes first
    firsts = order[np.flatnonzero(np.append(True, ids[order][1:] != ids[order][:-1]))]
    return np.sort(firsts)


def select(columns: Columns, rows: Column | slice) -> Columns:
    """The same columns, only these rows (mask, indices or slice)."""
    return {name: column[rows] for name, column in columns.items()}
