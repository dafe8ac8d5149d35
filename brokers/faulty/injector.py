"""The shared state of a faulty broker: its dice, its hits, and facts about its channels."""

from __future__ import annotations

import random
from collections.abc import Callable, Container, Sequence
from dataclasses import replace
from hashlib import blake2b
from itertools import count
from math import ceil

from brokerbench.brokers.errors import Misuse
from brokerbench.brokers.faulty.faults import Fault, FaultName, Offender
from brokerbench.brokers.faulty.withheld import Row, Withheld
from brokerbench.brokers.memory.broker import Space
from brokerbench.brokers.types import NO_PLACE, ChannelSpec, Retention

EARLY = 0.5
LATE = 4.0
"""``expire_early`` and ``expire_late`` remove messages at these multiples of the age limit; ``unreadable_early`` and
``readable_late`` do so to readers. ``late_redelivery`` delivers ``LATE`` leases after the lease's end."""
_OF_RETENTION = (
    FaultName.EXPIRE_EARLY,
    FaultName.EXPIRE_LATE,
    FaultName.UNREADABLE_EARLY,
    FaultName.READABLE_LATE,
    FaultName.NEWEST_REMOVED,
)
_LOSSES = (
    FaultName.LOSE,
    FaultName.WITHHOLD,
    FaultName.LOSE_AND_DUPLICATE,
    FaultName.UNKNOWN_AND_LOSE,
    FaultName.REFUSE,
)
_WITHHELD = (*_LOSSES, FaultName.LOSE_LAST_BEFORE_CRASH, FaultName.DEAD_LETTER_MISSING)
_SHOWN_OTHERWISE = (
    FaultName.CORRUPT,
    FaultName.CORRUPT_LAST_BYTE,
    FaultName.TRUNCATE,
    FaultName.WRONG_COUNT,
    FaultName.WRONG_KEY,
    FaultName.WRONG_PLACE,
    FaultName.DEAD_LETTER_ALTERED,
)
_TOLD_OTHERWISE = (FaultName.SHARED_PLACE, FaultName.TIME_OFF, FaultName.TIME_BACK)
"""To consumers and readers alike."""
_FAR = 1 << 40
"""No place of a channel is so high."""
_HOUR_NS, _BACK_NS = 3600 * 10**9, 5 * 10**9


class Injector:
    """Decides hits and records them. Safe for any number of threads."""

    def __init__(self, faults: Sequence[Fault], space: Space) -> None:
        for fault in faults:
            if not 0 <= fault.rate <= 1:
                raise Misuse(f"the rate of {fault.name} must be between 0 and 1, not {fault.rate}")
        self._faults = {FaultName(fault.name): fault for fault in faults}
        if len(self._faults) < len(faults):
            raise Misuse("a fault is given twice")
        # Most runs have one fault and millions of messages: skip the dice of faults that cannot happen.
        self._withholds = self.has(*_WITHHELD)
        self._shows_otherwise = self.has(*_SHOWN_OTHERWISE, *_TOLD_OTHERWISE)
        self._tells_otherwise = self.has(*_TOLD_OTHERWISE)
        self._space = space
        self._serials = count()
        self.swallowed: set[tuple[str, str]] = set()
        """(channel, identity) of new messages that were taken for repeats: their own repeats are taken so too."""
        self._specs: dict[str, ChannelSpec] = {}
        self._dead: set[str] = set()
        self._crashed: set[tuple[str, int, int]] = set()
        self._withheld: dict[tuple[str, str], Withheld] = {}
        self._hits: dict[FaultName, dict[tuple[int, int, bytes], Offender]] = {name: {} for name in FaultName}

    @property
    def changes_retention(self) -> bool:
        return self.has(*_OF_RETENTION)

    def has(self, *names: FaultName) -> bool:
        """Whether any of these faults can happen."""
        return any(name in self._faults for name in names)

    def serial(self) -> int:
        return next(self._serials)

    def now_ns(self) -> int:
        return self._space.clock()

    def strikes(self, name: FaultName, partition: int, place: int) -> bool:
        fault = self._faults.get(name)
        if fault is None:
            return False
        if fault.places is not None:
            return (partition, place) in fault.places
        return self._dice(fault, partition, place) < fault.rate

    def hit(self, name: FaultName, partition: int, place: int, payload: bytes) -> None:
        """Record a hit, once per message."""
        self._hits[name].setdefault((partition, place, payload), Offender(partition, place, payload))

    def offenders(self) -> dict[FaultName, list[Offender]]:
        return {name: list(hits.values()) for name, hits in self._hits.items() if hits or name in self._faults}

    def withheld(self, channel: str, group: str) -> Withheld:
        return self._withheld.setdefault((channel, group), Withheld())

    def adopt(self, spec: ChannelSpec) -> ChannelSpec:
        """The channel for the inner broker: with more retention where some messages must stay."""
        self._specs[spec.name] = spec
        if spec.dead_letter is not None:
            self._dead.add(spec.dead_letter.channel)
        limit = spec.retention
        if limit is None:
            return spec
        if limit.max_age_s is not None and self.has(FaultName.EXPIRE_LATE, FaultName.READABLE_LATE):
            limit = replace(limit, max_age_s=limit.max_age_s * LATE)
        if self.has(FaultName.NEWEST_REMOVED):
            limit = replace(limit, max_bytes=None, max_messages=None)
        return replace(spec, retention=limit)

    def retention(self, channel: str) -> Retention | None:
        """As it was asked for."""
        spec = self._specs.get(channel)
        return None if spec is None else spec.retention

    def lease_s(self, channel: str) -> float:
        with self._space.changed:
            return self._space.log(channel).spec.lease_s

    def is_dead(self, channel: str) -> bool:
        """Whether it is a channel of dead letters."""
        return channel in self._dead

    def add_dead_letter(self, channel: str, row: Row) -> None:
        """Copy an acknowledged message to the dead letters, if the fault strikes and the channel has some."""
        spec = self._specs.get(channel)
        policy = None if spec is None else spec.dead_letter
        if policy is not None and self.happens(FaultName.DEAD_LETTER_EXTRA, row):
            with self._space.changed:
                self._space.log(policy.channel).append(row.payload, row.key, row.attributes, self.now_ns())
                self._space.changed.notify_all()

    def crash(self) -> None:
        """From now on the last messages of each channel are lost."""
        fault = self._faults.get(FaultName.LOSE_LAST_BEFORE_CRASH)
        if fault is None:
            return
        with self._space.changed:
            for name, log in self._space.logs.items():
                spots = list(zip(log.partitions, log.places, strict=True))
                if fault.places is None:
                    lost = set(spots[len(spots) - ceil(fault.rate * len(spots)) :])
                else:
                    lost = set(spots) & fault.places
                self._crashed |= {(name, *spot) for spot in lost}

    def is_kept(self, channel: str, row: Row) -> bool:
        """Whether a message that the inner broker still has counts as kept by age."""
        limit = self.retention(channel) if self.has(FaultName.EXPIRE_EARLY, FaultName.EXPIRE_LATE) else None
        if limit is None or limit.max_age_s is None:
            return True
        limit_ns = int(limit.max_age_s * 1e9)
        age_ns = self.now_ns() - row.epoch_ns
        if age_ns > limit_ns:
            return self.happens(FaultName.EXPIRE_LATE, row)
        return age_ns <= limit_ns * EARLY or not self.happens(FaultName.EXPIRE_EARLY, row)

    def is_lost(self, channel: str, row: Row) -> bool:
        """Whether no consumer gets this message. A crash does not lose messages that were delivered before."""
        if not self._withholds:
            return False
        lost = [self.happens(name, row) for name in _LOSSES]
        if row.count <= 1 and (channel, *row.spot) in self._crashed:
            self.hit(FaultName.LOSE_LAST_BEFORE_CRASH, *row.spot, row.payload)
            return True
        return any(lost) or (self.is_dead(channel) and self.happens(FaultName.DEAD_LETTER_MISSING, row))

    def shown(self, channel: str, row: Row) -> Row:
        """The row as a consumer sees it."""
        if not self._shows_otherwise or row.place == NO_PLACE:
            return row
        payload, number = self._perhaps_altered(FaultName.CORRUPT, channel, row), row.count
        if payload and self.happens(FaultName.CORRUPT_LAST_BYTE, row):
            payload = payload[:-1] + bytes([payload[-1] ^ 1])
        if payload and self.happens(FaultName.TRUNCATE, row):
            payload = payload[:-1]
        if self.happens(FaultName.WRONG_COUNT, row):
            number += 1
        key = b"another-" + (row.key or b"") if self.happens(FaultName.WRONG_KEY, row) else row.key
        place = row.place + _FAR if self.happens(FaultName.WRONG_PLACE, row) else row.place
        return self._told(replace(row, payload=payload, count=number, key=key), place)

    def read_again(self, channel: str, row: Row) -> Row:
        """The row as a reader sees it."""
        payload = self._perhaps_altered(FaultName.REPLAY_ALTERED, channel, row)
        if payload is row.payload and not self._tells_otherwise:
            return row
        return self._told(replace(row, payload=payload), row.place)

    def _told(self, row: Row, place: int) -> Row:
        """The row at ``place``, with the place and time that consumers and readers alike are told."""
        time_ns = row.epoch_ns
        if self.happens(FaultName.SHARED_PLACE, row):
            place -= 1
        if self.happens(FaultName.TIME_OFF, row):
            time_ns += _HOUR_NS
        if self.happens(FaultName.TIME_BACK, row):
            time_ns -= _BACK_NS
        return replace(row, place=place, epoch_ns=time_ns)

    def place_told(self, partition: int, place: int, payload: bytes) -> int:
        """The place that the sender is told."""
        if self.strikes(FaultName.WRONG_PLACE_TOLD, partition, place):
            self.hit(FaultName.WRONG_PLACE_TOLD, partition, place, payload)
            return place + _FAR
        return place - 1 if self.strikes(FaultName.SHARED_PLACE, partition, place) else place

    def _perhaps_altered(self, name: FaultName, channel: str, row: Row) -> bytes:
        """The payload: ``name``, and among dead letters their own fault, change a byte, the same one each time."""
        payload = row.payload
        for fault in (name, FaultName.DEAD_LETTER_ALTERED) if self.is_dead(channel) else (name,):
            if payload and self.happens(fault, row):
                rng = self._rng(fault, row)
                at = rng.randrange(len(payload))
                payload = payload[:at] + bytes([payload[at] ^ rng.randrange(1, 256)]) + payload[at + 1 :]
        return payload

    def is_skipped_in_replay(self, row: Row) -> bool:
        return self.happens(FaultName.REPLAY_GAP, row)

    def phantom_beside(self, row: Row) -> bytes | None:
        """A payload that was never sent, as long as this row's."""
        if not self.strikes(FaultName.PHANTOM, row.partition, row.place):
            return None
        return self._rng(FaultName.PHANTOM, row).randbytes(len(row.payload))

    def swapped(self, name: FaultName, rows: Sequence[Row], partner: Partner, *, first: bool) -> list[Row]:
        """Rows of which ``name`` swapped some with a later one (each at most once).

        ``first``: only those that are delivered for the first time.
        """
        rows = list(rows)
        if not self.has(name):
            return rows
        moved: set[int] = {at for at, row in enumerate(rows) if first and row.count > 1}
        for at, row in enumerate(rows):
            if at in moved or not self.strikes(name, row.partition, row.place):
                continue
            after = partner(rows, at, moved)
            if after is not None:
                self.hit(name, row.partition, row.place, row.payload)
                rows[at], rows[after] = rows[after], rows[at]
                moved |= {at, after}
        return rows

    def happens(self, name: FaultName, row: Row) -> bool:
        """Whether the fault strikes this row, which is recorded as a hit then."""
        if not self.strikes(name, row.partition, row.place):
            return False
        self.hit(name, row.partition, row.place, row.payload)
        return True

    def _dice(self, fault: Fault, partition: int, place: int) -> float:
        text = f"{fault.seed}:{fault.name}:{partition}:{place}".encode()
        return int.from_bytes(blake2b(text, digest_size=8).digest()) / 2**64

    def _rng(self, name: FaultName, row: Row) -> random.Random:
        return random.Random(f"{self._faults[name].seed}:{name}:{row.partition}:{row.place}")


Partner = Callable[[Sequence[Row], int, Container[int]], int | None]
"""(rows, index, indices that must stay) -> the index of a later row to change places with."""


def next_of_key(rows: Sequence[Row], at: int, stay: Container[int]) -> int | None:
    """The next movable row of the same key and partition."""
    own = rows[at].key, rows[at].partition
    later = range(at + 1, len(rows))
    return next(
        (other for other in later if other not in stay and (rows[other].key, rows[other].partition) == own), None
    )


def next_of_partition(rows: Sequence[Row], at: int, stay: Container[int]) -> int | None:
    """The very next row of the same partition, if it may move and has another key (or none)."""
    own = rows[at]
    after = next((other for other in range(at + 1, len(rows)) if rows[other].partition == own.partition), None)
    if after is None or after in stay or (own.key is not None and rows[after].key == own.key):
        return None
    return after


def next_elsewhere(rows: Sequence[Row], at: int, stay: Container[int]) -> int | None:
    """The very next row, if it may move and is of another partition."""
    after = at + 1
    if after == len(rows) or after in stay or rows[after].partition == rows[at].partition:
        return None
    return after
