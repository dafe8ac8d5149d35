"""The log of a memory channel and its groups: plain data structures without any locking.

``seq`` numbers the messages of a channel from 0, over all partitions. Columns of the log begin at ``base``.
"""

from __future__ import annotations

from collections.abc import Mapping
from heapq import heappop, heappush
from zlib import crc32

from brokerbench.brokers.types import ChannelSpec

DEDUPLICATION_WINDOW_S = 300.0
"""Age, in seconds, up to which a message's identity makes another one a repeat."""
_WINDOW_NS = int(DEDUPLICATION_WINDOW_S * 1e9)


class Log:
    """Messages in order of arrival, as columns; the oldest are removed by ``trim``."""

    def __init__(self, spec: ChannelSpec) -> None:
        self.spec = spec
        self.base = 0
        self.payloads: list[bytes] = []
        self.keys: list[bytes | None] = []
        self.attributes: list[Mapping[str, str] | None] = []
        self.partitions: list[int] = []
        self.places: list[int] = []
        self.epochs_ns: list[int] = []
        self.ends = [0] * spec.partitions
        self.size_bytes = 0
        self.groups: dict[str, Group] = {}
        self._identities: dict[str, tuple[int, int, int]] = {}

    @property
    def end(self) -> int:
        return self.base + len(self.payloads)

    def group(self, name: str) -> Group:
        """A new group starts at the oldest kept message."""
        if name not in self.groups:
            self.groups[name] = Group(self)
        return self.groups[name]

    def append(
        self,
        payload: bytes,
        key: bytes | None,
        attributes: Mapping[str, str] | None,
        epoch_ns: int,
        identity: str | None = None,
    ) -> tuple[int, int]:
        """Returns (partition, place): for a repeat those of the original, and the repeat is not kept.

        Messages without a key take the partitions in turn.
        """
        if identity is not None and (original := self.original(identity, epoch_ns)) is not None:
            return original
        partition = (self.end if key is None else crc32(key)) % len(self.ends)
        place = self.ends[partition]
        self.ends[partition] = place + 1
        self.payloads.append(payload)
        self.keys.append(key)
        self.attributes.append(attributes)
        self.partitions.append(partition)
        self.places.append(place)
        self.epochs_ns.append(epoch_ns)
        self.size_bytes += len(payload)
        if identity is not None:
            self._remember(identity, partition, place, epoch_ns)
        return partition, place

    def original(self, identity: str, now_ns: int) -> tuple[int, int] | None:
        """(partition, place) of the message that a new one with this identity would repeat."""
        known = self._identities.get(identity)
        return known[:2] if known is not None and now_ns - known[2] < _WINDOW_NS else None

    def latest_identity(self, now_ns: int) -> str | None:
        """The identity remembered last, if it is still remembered."""
        latest = next(reversed(self._identities), None)
        return latest if latest is not None and self.original(latest, now_ns) is not None else None

    def _remember(self, identity: str, partition: int, place: int, epoch_ns: int) -> None:
        """Keeps identities in order of time; drops those that are too old."""
        self._identities.pop(identity, None)
        self._identities[identity] = partition, place, epoch_ns
        while (oldest := next(iter(self._identities))) != identity and self.original(oldest, epoch_ns) is None:
            del self._identities[oldest]

    def trim(self, now_ns: int) -> None:
        """Remove the oldest messages beyond the channel's retention, read or not."""
        limit = self.spec.retention
        if limit is None:
            return
        count = 0
        if limit.max_messages is not None:
            count = max(0, len(self.payloads) - limit.max_messages)
        if limit.max_age_s is not None:
            oldest_ns = now_ns - int(limit.max_age_s * 1e9)
            while count < len(self.payloads) and self.epochs_ns[count] < oldest_ns:
                count += 1
        if limit.max_bytes is not None:
            size = self.size_bytes - sum(map(len, self.payloads[:count]))
            while size > limit.max_bytes:
                size -= len(self.payloads[count])
                count += 1
        if count:
            self.size_bytes -= sum(map(len, self.payloads[:count]))
            for column in (self.payloads, self.keys, self.attributes, self.partitions, self.places, self.epochs_ns):
                del column[:count]
            self.base += count
            for group in self.groups.values():
                group.drop_removed()


class Group:
    """State of each message: ``leases`` of unsettled deliveries, ``ready`` for delivery, ``held`` behind a busy key.

    ``ready`` and the lists in ``held`` are heaps of seqs. Methods that may end a message return the seqs that are
    now dead letters.
    """

    def __init__(self, log: Log) -> None:
        self._log = log
        self._cursor = log.base
        self._ready: list[int] = []
        self._held: dict[bytes, list[int]] = {}
        self._busy: dict[bytes, int] = {}
        self._leases: dict[int, tuple[int, int]] = {}
        self._deadlines: list[tuple[int, int, int]] = []
        self._tokens = 0
        self.deliveries: dict[int, int] = {}

    def take(self, count: int, now_ns: int) -> tuple[list[int], list[int]] | None:
        """Lease up to ``count`` messages, oldest first: (seqs, lease tokens)."""
        deadline_ns = now_ns + int(self._log.spec.lease_s * 1e9)
        seqs: list[int] = []
        tokens: list[int] = []
        ours: set[bytes] = set()
        while len(seqs) < count:
            if self._ready:
                seq = heappop(self._ready)
            elif self._cursor < self._log.end:
                seq = self._cursor
                self._cursor += 1
            else:
                break
            key = self._log.keys[seq - self._log.base]
            if key is not None:
                if key in self._busy and key not in ours:
                    heappush(self._held.setdefault(key, []), seq)
                    continue
                ours.add(key)
                self._busy[key] = self._busy.get(key, 0) + 1
            self._tokens += 1
            self._leases[seq] = (self._tokens, deadline_ns)
            heappush(self._deadlines, (deadline_ns, seq, self._tokens))
            self.deliveries[seq] = self.deliveries.get(seq, 0) + 1
            seqs.append(seq)
            tokens.append(self._tokens)
        return (seqs, tokens) if seqs else None

    def holds(self, seq: int, token: int) -> bool:
        """Whether this delivery's lease still runs."""
        lease = self._leases.get(seq)
        return lease is not None and lease[0] == token

    def finish(self, seq: int) -> list[int]:
        del self.deliveries[seq]
        self._unlock(seq)
        return []

    def release(self, seq: int) -> list[int]:
        policy = self._log.spec.dead_letter
        if policy is not None and self.deliveries[seq] >= policy.max_deliveries:
            return self.reject(seq)
        self._unlock(seq, again=True)
        return []

    def reject(self, seq: int) -> list[int]:
        self.finish(seq)
        return [seq]

    def extend(self, seq: int, deadline_ns: int) -> list[int]:
        token, _ = self._leases[seq]
        self._leases[seq] = (token, deadline_ns)
        heappush(self._deadlines, (deadline_ns, seq, token))
        return []

    def expire(self, now_ns: int) -> list[int]:
        dead: list[int] = []
        while self._deadlines and self._deadlines[0][0] <= now_ns:
            deadline_ns, seq, token = heappop(self._deadlines)
            if self._leases.get(seq) == (token, deadline_ns):
                dead += self.release(seq)
        return dead

    def next_deadline_ns(self) -> int | None:
        """When the next lease may end; too early where it was extended or settled meanwhile."""
        return self._deadlines[0][0] if self._deadlines else None

    def backlog(self) -> int:
        held = sum(map(len, self._held.values()))
        return self._log.end - self._cursor + len(self._ready) + len(self._leases) + held

    def drop_removed(self) -> None:
        """Drop the messages that retention removed: read or not, delivered or not."""
        base = self._log.base
        self._cursor = max(self._cursor, base)
        for seq in [seq for seq in self._leases if seq < base]:
            del self._leases[seq]
        self._ready = sorted(seq for seq in self._ready if seq >= base)
        self._held = {key: kept for key, held in self._held.items() if (kept := sorted(s for s in held if s >= base))}
        self.deliveries = {seq: count for seq, count in self.deliveries.items() if seq >= base}
        self._busy = {}
        for seq in self._leases:
            if (key := self._log.keys[seq - base]) is not None:
                self._busy[key] = self._busy.get(key, 0) + 1
        for key in [key for key in self._held if key not in self._busy]:
            self._ready = sorted(self._ready + self._held.pop(key))

    def _unlock(self, seq: int, *, again: bool = False) -> None:
        """End a lease. After the last of its key, the messages held behind the key become ready."""
        del self._leases[seq]
        key = self._log.keys[seq - self._log.base]
        if key is None:
            if again:
                heappush(self._ready, seq)
            return
        if again:
            heappush(self._held.setdefault(key, []), seq)
        self._busy[key] -= 1
        if not self._busy[key]:
            del self._busy[key]
            for waiting in self._held.pop(key, ()):
                heappush(self._ready, waiting)
