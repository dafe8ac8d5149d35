"""Joins of a history's tables: which send a message is, which delivery a settlement is about."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from brokerbench.scenarios.history.history import Column, Columns

Ids = npt.NDArray[np.int64]

GAPS = "the sends of a history are not numbered from 0 without gaps"
_SEQ_BITS = 40
_MOST_SEQS = 1 << _SEQ_BITS
_LONG_RUN = 1000


class Numbers(Protocol):
    """Messages numbered from 0 by (producer, seq)."""

    @property
    def rows(self) -> Ids:
        """By id: the row of ``sends``."""
        ...

    def ids(self, producer: Column, seq: Column) -> Ids:
        """Ids of these messages, a new array; -1 for those that were never sent."""
        ...


@dataclass(frozen=True, slots=True)
class Dense:
    """Without gaps: an id is the producer's base and seq."""

    bases: Ids
    counts: Ids
    """By producer number; a last entry without sends stands for unknown producers."""
    rows: Ids

    def ids(self, producer: Column, seq: Column) -> Ids:
        return dense_ids(self.bases, self.counts, producer, seq)


@dataclass(frozen=True, slots=True)
class Sparse:
    """With gaps: an id is the index in the sorted codes of the sends."""

    codes: Ids
    rows: Ids

    def ids(self, producer: Column, seq: Column) -> Ids:
        return found(self.codes, _codes(producer, seq))


def of(sends: Columns, producers: Sequence[int], *, gaps: bool) -> Numbers:
    """Numbers of these producers' sends. Raises ValueError where ``seq`` has gaps, unless they are expected."""
    if gaps:
        rows = np.flatnonzero(among(sends["producer"], producers))
        codes = _codes(sends["producer"][rows], sends["seq"][rows])
        if (codes[1:] < codes[:-1]).any():
            order = stable_order(codes)
            codes, rows = codes[order], rows[order]
        return Sparse(codes, rows)
    bases, counts = bases_of(sends["producer"], producers)
    ids = dense_ids(bases, counts, sends["producer"], sends["seq"])
    total = int(counts.sum())
    kept = np.flatnonzero(ids >= 0)
    rows = np.full(total, -1, np.int64)
    rows[ids[kept]] = kept
    # As many rows as ids, and every id has one: none has two.
    if len(kept) != total or (rows < 0).any():
        raise ValueError(GAPS)
    return Dense(bases, counts, rows)


def first_ids(producers: Iterable[Column]) -> tuple[Ids, Ids]:
    """(first id, number of sends) by producer number, of all; from the column ``producer`` in stretches.

    A last entry without sends stands for unknown producers.
    """
    counts = np.zeros(0, np.int64)
    for part in producers:
        found = np.bincount(part, minlength=len(counts))
        found[: len(counts)] += counts
        counts = found
    counts = np.append(counts, 0)
    return np.cumsum(counts) - counts, counts


def bases_of(producer: Column, producers: Sequence[int]) -> tuple[Ids, Ids]:
    """(first id, number of sends) by producer number; a number of 0 for producers that are not meant."""
    highest = max(producers, default=-1)
    found = np.bincount(producer, minlength=highest + 1)
    counts = np.zeros(highest + 2, np.int64)
    counts[list(producers)] = found[list(producers)]
    return np.cumsum(counts) - counts, counts


def dense_ids(bases: Ids, counts: Ids, producer: Column, seq: Column) -> Ids:
    """Ids of these messages; -1 for those that were never sent."""
    unknown = len(counts) - 1
    safe = producer
    if len(producer) and not (producer.min() >= 0 and producer.max() <= unknown):
        safe = np.where((producer >= 0) & (producer < unknown), producer, unknown)
    ids: Ids = bases[safe] + seq
    outside = (seq < 0) | (seq >= counts[safe])
    ids[outside] = -1
    return ids


def rows_of_acknowledgements(deliveries: Columns, acknowledgements: Columns) -> Ids:
    """For each row of ``acknowledgements`` its row of ``deliveries``, or -1."""
    if not len(deliveries["slot"]) or not len(acknowledgements["slot"]):
        return np.full(len(acknowledgements["slot"]), -1, np.int64)
    width = int(max(deliveries["batch"].max(), acknowledgements["batch"].max())) + 1
    batches = deliveries["reader"].astype(np.int64) * width + deliveries["batch"]
    wanted = acknowledgements["reader"].astype(np.int64) * width + acknowledgements["batch"]
    slot = deliveries["slot"]
    begins = slot == 0
    following = (batches[1:] == batches[:-1]) & (slot[1:] == slot[:-1] + 1)
    if begins[0] and (begins[1:] | following).all():
        # Rows of one batch stand together, slot 0 first: a row is the batch's first row and the slot.
        starts = np.flatnonzero(begins)
        at = _found_in(batches[starts], wanted)
        rows = starts[np.maximum(at, 0)] + acknowledgements["slot"]
        rows[(at < 0) | (rows >= len(slot))] = -1
        rows[batches[rows] != wanted] = -1
        return rows
    slots = int(max(slot.max(), acknowledgements["slot"].max())) + 1
    return _found_in(batches * slots + slot, wanted * slots + acknowledgements["slot"])


def stable_order(codes: Column) -> Ids:
    """As ``np.argsort(codes, kind="stable")``; in another way where that is faster."""
    bits = len(codes).bit_length()
    runs = 1 + np.count_nonzero(codes[1:] < codes[:-1])
    if codes.dtype.itemsize <= 2 or runs * _LONG_RUN <= len(codes) or not len(codes):
        return np.argsort(codes, kind="stable")  # NumPy counts 16 bits instead of comparing, and merges what is in runs
    low = int(codes.min())
    if (int(codes.max()) - low) >> (63 - bits):
        return np.argsort(codes, kind="stable")
    # Code and index sorted as one number: half the time and less.
    joint: Ids = (codes.astype(np.int64) - low << bits) | np.arange(len(codes))
    joint.sort()
    joint &= (1 << bits) - 1
    return joint


def among(column: Column, numbers: Sequence[int]) -> npt.NDArray[np.bool_]:
    """As ``np.isin(column, numbers)``, for whole numbers that count a few things (readers, producers) from 0."""
    if not len(column):
        return np.zeros(0, bool)
    low, high = int(column.min()), int(column.max())
    meant = np.isin(np.arange(low, high + 1), numbers)
    return np.ones(len(column), bool) if meant.all() else meant[column - low]


def rows_with(column: Column, values: Column) -> Ids:
    """Indices at which ``column`` has one of a few ``values``, whole numbers both: 16 bits tell most rows apart."""
    meant = np.zeros(1 << 16, bool)
    meant[values.astype(np.uint16)] = True
    rows = np.flatnonzero(meant[column.astype(np.uint16)])
    return rows[np.isin(column[rows], values)]


def _codes(producer: Column, seq: Column) -> Ids:
    """One number for each (producer, seq), ascending like the pair; -1 where there can be no such send."""
    codes: Ids = (producer.astype(np.int64) << _SEQ_BITS) + seq
    codes[(seq < 0) | (seq >= _MOST_SEQS) | (producer < 0)] = -1
    return codes


def _found_in(codes: Ids, wanted: Ids) -> Ids:
    """The index of each wanted code in ``codes`` (in any order), or -1."""
    if (codes[1:] >= codes[:-1]).all():
        return found(codes, wanted)
    order = stable_order(codes)
    at = found(codes[order], wanted)
    return np.where(at >= 0, order[np.maximum(at, 0)], -1)


def found(ascending: Ids, wanted: Ids) -> Ids:
    """The index of each wanted code in ascending codes, or -1."""
    if not len(ascending):
        return np.full(len(wanted), -1, np.int64)
    if np.array_equal(ascending, wanted) and (ascending[1:] > ascending[:-1]).all():
        return np.arange(len(wanted))
    at = np.searchsorted(ascending, wanted)
    at[at == len(ascending)] = 0
    at[ascending[at] != wanted] = -1
    return at
