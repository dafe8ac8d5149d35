"""What all parts of a faulty broker share: the dice, the record of hits, and deliveries that are held back."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from hashlib import blake2b
from itertools import starmap
from threading import Lock

import numpy as np

from brokers.errors import Misuse
from brokers.types import NO_PLACE, ChannelSpec, Received

EARLY = 0.5
LATE = 4.0
"""When messages hit by ``expire_early`` and ``expire_late`` go, in multiples of the age limit."""


class FaultName(StrEnum):
    """What can go wrong, and when a message counts as hit."""

    LOSE = "lose"
    """Acknowledged, then never delivered nor replayed. Hit: when its delivery was withheld."""
    DUPLICATE = "duplicate"
    """Delivered again although it was acknowledged. Hit: at the second delivery."""
    REORDER_WITHIN_KEY = "reorder_within_key"
    """Changes places with the next message of its key, at first delivery. Hit: the one that comes too late."""
    REORDER_ACROSS_REDELIVERY = "reorder_across_redelivery"
    """Released, then overtaken by a later message of its key. Hit: the one that was overtaken."""
    CORRUPT = "corrupt"
    """One byte anywhere in the payload is changed on delivery."""
    PHANTOM = "phantom"
    """A message that nobody sent is delivered. Hit: the phantom."""
    REJECT_BUT_DELIVER = "reject_but_deliver"
    """Settled as rejected, but kept and delivered."""
    UNKNOWN_OUTCOME = "unknown_outcome"
    """Settled as unknown, but kept and delivered."""
    EARLY_REDELIVERY = "early_redelivery"
    """Delivered a second time while its first lease runs."""
    EXPIRE_EARLY = "expire_early"
    """Gone after half of the age limit. Hit: when it was missing before its limit."""
    EXPIRE_LATE = "expire_late"
    """Kept for four times the age limit. Hit: when it was handed out after its limit."""
    REPLAY_GAP = "replay_gap"
    """Left out of replays."""
    REPLAY_REORDER = "replay_reorder"
    """Changes places with the next message of its key in replays. Hit: the one that comes too late."""
    REPLAY_ALTERED = "replay_altered"
    """One byte anywhere in the payload is changed in replays."""


@dataclass(frozen=True, slots=True)
class Fault:
    """``rate``: share of messages that are hit, 0 to 1. Another ``seed`` hits others.

    ``places``: where given, exactly the messages at these (partition, place) are hit, whatever ``rate`` says.
    """

    name: FaultName
    rate: float
    seed: int = 0
    places: frozenset[tuple[int, int]] | None = None


@dataclass(frozen=True, slots=True)
class Offender:
    """A message that was hit; ``payload`` as it was sent (of a phantom: as it was invented)."""

    partition: int
    place: int
    payload: bytes


@dataclass(frozen=True, slots=True)
class Row:
    """One delivery. ``source``: the inner delivery that settles it, ``None`` where the inner broker knows of none."""

    payload: bytes
    key: bytes | None
    partition: int
    place: int
    epoch_ns: int
    count: int
    attributes: Mapping[str, str]
    source: tuple[Received, int] | None

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
    """``rows`` delivered, with the payloads of ``shown`` (rows may be altered on the way out)."""
    return Received(
        [row.payload for row in shown],
        [row.key for row in rows],
        np.array([row.partition for row in rows], np.int32),
        np.array([row.place for row in rows], np.int64),
        time.monotonic_ns(),
        np.array([row.epoch_ns for row in rows], np.int64),
        np.array([row.count for row in rows], np.int32),
        attributes=[row.attributes for row in rows] if any(row.attributes for row in rows) else None,
        handle=rows,
    )


class Stash:
    """Deliveries that faults hold back for a group: ``due`` now, ``overtaken`` after a later one of their key."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._due: list[Row] = []
        self._overtaken: list[Row] = []

    def put(self, row: Row) -> None:
        with self._lock:
            self._due.append(row)

    def hold(self, row: Row) -> None:
        with self._lock:
            self._overtaken.append(row)

    def take(self, count: int) -> list[Row]:
        with self._lock:
            taken, self._due = self._due[:count], self._due[count:]
            return taken

    def overtake(self, rows: Sequence[Row]) -> list[Row]:
        """Those held that one of ``rows`` has now overtaken, in order; they are the caller's now."""
        with self._lock:
            passed = [held for held in self._overtaken if any(_is_later(row, held) for row in rows)]
            self._overtaken = [held for held in self._overtaken if held not in passed]
            return passed

    def give_up(self) -> None:
        """Nothing came that could overtake: what is held comes back in order."""
        with self._lock:
            self._due += self._overtaken
            self._overtaken = []

    def size(self) -> int:
        with self._lock:
            return len(self._due) + len(self._overtaken)


def _is_later(row: Row, held: Row) -> bool:
    return row.key == held.key and row.partition == held.partition and row.place > held.place


class State:
    """The dice and the record. Safe for any number of threads."""

    def __init__(self, faults: Sequence[Fault], clock: Callable[[], int]) -> None:
        for fault in faults:
            if not 0 <= fault.rate <= 1:
                raise Misuse(f"the rate of {fault.name} must be between 0 and 1, not {fault.rate}")
        self._faults = {FaultName(fault.name): fault for fault in faults}
        if len(self._faults) < len(faults):
            raise Misuse("a fault is given twice")
        self._clock = clock
        self._limits_ns: dict[str, int] = {}
        self._stashes: dict[tuple[str, str], Stash] = {}
        self._hits: dict[FaultName, dict[tuple[int, int, bytes], Offender]] = {name: {} for name in FaultName}

    @property
    def changes_retention(self) -> bool:
        return FaultName.EXPIRE_EARLY in self._faults or FaultName.EXPIRE_LATE in self._faults

    def strikes(self, name: FaultName, partition: int, place: int) -> bool:
        fault = self._faults.get(name)
        if fault is None:
            return False
        if fault.places is not None:
            return (partition, place) in fault.places
        return self._dice(fault, partition, place) < fault.rate

    def hit(self, name: FaultName, partition: int, place: int, payload: bytes) -> None:
        """Recorded once for a message, however often it shows."""
        self._hits[name].setdefault((partition, place, payload), Offender(partition, place, payload))

    def offenders(self) -> dict[FaultName, list[Offender]]:
        return {name: list(hits.values()) for name, hits in self._hits.items() if name in self._faults}

    def stash(self, channel: str, group: str) -> Stash:
        return self._stashes.setdefault((channel, group), Stash())

    def adopt(self, spec: ChannelSpec) -> ChannelSpec:
        """The channel as the inner broker shall make it: keeping longer, where some messages must stay late."""
        limit = spec.retention
        if limit is None or limit.max_age_s is None:
            return spec
        self._limits_ns[spec.name] = int(limit.max_age_s * 1e9)
        if FaultName.EXPIRE_LATE not in self._faults:
            return spec
        return replace(spec, retention=replace(limit, max_age_s=limit.max_age_s * LATE))

    def is_kept(self, channel: str, row: Row) -> bool:
        """Whether a message that the inner broker still has is there for the world."""
        limit_ns = self._limits_ns.get(channel)
        if limit_ns is None or not self.changes_retention:
            return True
        age_ns = self._clock() - row.epoch_ns
        if age_ns > limit_ns:
            late = self.strikes(FaultName.EXPIRE_LATE, row.partition, row.place)
            if late:
                self.hit(FaultName.EXPIRE_LATE, row.partition, row.place, row.payload)
            return late
        if age_ns > limit_ns * EARLY and self.strikes(FaultName.EXPIRE_EARLY, row.partition, row.place):
            self.hit(FaultName.EXPIRE_EARLY, row.partition, row.place, row.payload)
            return False
        return True

    def is_lost(self, row: Row) -> bool:
        return self._happens(FaultName.LOSE, row)

    def is_skipped_in_replay(self, row: Row) -> bool:
        return self._happens(FaultName.REPLAY_GAP, row)

    def altered(self, name: FaultName, row: Row) -> Row:
        """With one byte changed, if ``name`` strikes: any byte, but always the same one of a message."""
        if not row.payload or row.place == NO_PLACE or not self._happens(name, row):
            return row
        rng = self._rng(name, row)
        at = rng.randrange(len(row.payload))
        changed = row.payload[at] ^ rng.randrange(1, 256)
        return replace(row, payload=row.payload[:at] + bytes([changed]) + row.payload[at + 1 :])

    def phantom_beside(self, row: Row) -> bytes | None:
        """A payload that nobody sent, as long as this row's."""
        if not self.strikes(FaultName.PHANTOM, row.partition, row.place):
            return None
        return self._rng(FaultName.PHANTOM, row).randbytes(len(row.payload))

    def swapped(self, name: FaultName, rows: Sequence[Row], *, among: Callable[[Row], bool]) -> list[Row]:
        """Rows in which ``name`` made some change places with the next of their key (each at most once)."""
        rows = list(rows)
        moved: set[int] = set()
        for at, row in enumerate(rows):
            if at in moved or not among(row) or not self.strikes(name, row.partition, row.place):
                continue
            after = next(_same_key(rows, at, moved, among), None)
            if after is not None:
                self.hit(name, row.partition, row.place, row.payload)
                rows[at], rows[after] = rows[after], rows[at]
                moved |= {at, after}
        return rows

    def _happens(self, name: FaultName, row: Row) -> bool:
        if not self.strikes(name, row.partition, row.place):
            return False
        self.hit(name, row.partition, row.place, row.payload)
        return True

    def _dice(self, fault: Fault, partition: int, place: int) -> float:
        text = f"{fault.seed}:{fault.name}:{partition}:{place}".encode()
        return int.from_bytes(blake2b(text, digest_size=8).digest()) / 2**64

    def _rng(self, name: FaultName, row: Row) -> random.Random:
        return random.Random(f"{self._faults[name].seed}:{name}:{row.partition}:{row.place}")


def _same_key(rows: Sequence[Row], at: int, moved: set[int], among: Callable[[Row], bool]) -> Iterator[int]:
    """Later rows of the same key and partition."""
    for later in range(at + 1, len(rows)):
        row = rows[later]
        if later not in moved and among(row) and (row.key, row.partition) == (rows[at].key, rows[at].partition):
            yield later
