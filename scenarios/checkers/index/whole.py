"""Facts about a whole history that its shards need."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from brokerbench.scenarios.checkers.index.columns import Mask
from brokerbench.scenarios.history import Column, Columns, Mark
from brokerbench.scenarios.history.message_ids import Ids, stable_order


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
