"""Consuming a group of Redis streams. The adapter provides, and declares as its own:

* leases: ``receive`` claims entries that were idle for a lease (XAUTOCLAIM), as often as every quarter of a lease or
  every 0.2 s, whichever is shorter;
* release and extend: XCLAIM sets the idle time, in a script that first checks the delivery's owner;
* dead letters: the same script appends the entry to the dead-letter stream and acknowledges it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

import hiredis

from brokerbench.brokers.contract import ThreadGuard, check_count
from brokerbench.brokers.errors import Unreachable, Unsupported
from brokerbench.brokers.redis_streams.codec import Block, Entry, Handle, entries_by_stream, received
from brokerbench.brokers.redis_streams.connection import RedisConnection, good, pack
from brokerbench.brokers.settling import Outcomes
from brokerbench.brokers.types import ChannelSpec, ConsumerSettings, Indices, Outcome, Received, Settlements

CLAIM_PERIOD_S = 0.2
_CLAIM_SCAN = 1000
_CLAIM_ROUNDS = 10
"""Most calls of XAUTOCLAIM per stream in one search for ended leases: about ``_CLAIM_SCAN`` pending entries, as each
call examines 10 for each wanted."""

# KEYS: stream[, dead-letter stream]; ARGV: group, consumer, idle ms or "dead-letter", then id, delivery count, ...
# A delivery is still its consumer's when it is pending for that consumer with the same count.
_SETTLE = """
local done = {}
for i = 4, #ARGV, 2 do
  local id = ARGV[i]
  local held = redis.call('XPENDING', KEYS[1], ARGV[1], id, id, 1, ARGV[2])
  if held[1] and held[1][4] == tonumber(ARGV[i + 1]) then
    if ARGV[3] == 'dead-letter' then
      local entry = redis.call('XRANGE', KEYS[1], id, id)
      if KEYS[2] and entry[1] then redis.call('XADD', KEYS[2], '*', unpack(entry[1][2])) end
      redis.call('XACK', KEYS[1], ARGV[1], id)
    else
      redis.call('XCLAIM', KEYS[1], ARGV[1], ARGV[2], 0, id, 'IDLE', ARGV[3], 'JUSTID')
    end
    done[#done + 1] = 1
  else
    done[#done + 1] = 0
  end
end
return done
"""


class RedisConsumer:
    """A named member of a group over all streams of a channel.

    ``trimmed_while_pending`` counts deliveries that could not come back because retention removed the entry.
    """

    def __init__(
        self,
        connect: Callable[[], RedisConnection],
        spec: ChannelSpec,
        streams: Sequence[bytes],
        dead_streams: Sequence[bytes],
        settings: ConsumerSettings,
    ) -> None:
        self._connect = connect
        self._streams = streams
        self._dead_streams = dead_streams
        self._max_deliveries = spec.dead_letter.max_deliveries if spec.dead_letter else None
        self._group = settings.group.encode()
        self._name = settings.name.encode()
        self._lease_ms = max(1, round(spec.lease_s * 1000))
        self._claim_period_s = min(spec.lease_s / 4, CLAIM_PERIOD_S)
        self._next_claim = 0.0
        self._cursors = [b"0-0"] * len(streams)
        self._turn = 0
        self._guard = ThreadGuard("a Redis consumer")
        self._connection = connect()
        self.trimmed_while_pending = 0

    def receive(self, max_messages: int, wait_s: float) -> Received:
        with self._guard:
            check_count(max_messages)
            give_up = time.monotonic() + wait_s
            while True:
                blocks = self._claim(max_messages) if time.monotonic() >= self._next_claim else []
                missing = max_messages - sum(len(block.entries) for block in blocks)
                now = time.monotonic()
                block_s = 0.0 if blocks else min(give_up, self._next_claim) - now
                blocks += self._fresh(missing, block_s)
                if blocks:
                    return received(blocks)
                if time.monotonic() >= give_up:
                    return Received.empty(time.monotonic_ns())

    def acknowledge(self, received: Received, indices: Indices = None) -> Settlements:
        """Works after the lease's end too: an acknowledged entry is done, whichever consumer held it."""
        with self._guard:
            found = Outcomes.of(received, indices, Outcome.ACKNOWLEDGED)
            runs = [
                (rows, pack(b"XACK", self._streams[partition], self._group, *ids))
                for partition, rows, ids in self._by_stream(received, found, indices)
            ]
            return self._settle(found, runs)

    def release(self, received: Received, indices: Indices = None) -> Settlements:
        return self._by_script(received, indices, str(self._lease_ms))

    def extend(self, received: Received, lease_s: float, indices: Indices = None) -> Settlements:
        wanted_ms = round(lease_s * 1000)
        if wanted_ms > self._lease_ms:
            raise Unsupported(
                "extend",
                "a Redis entry can be made to look fresh, not younger than now: a lease "
                f"ends at most {self._lease_ms / 1000:g} s (the channel's lease) from now",
            )
        return self._by_script(received, indices, str(self._lease_ms - wanted_ms))

    def reject(self, received: Received, indices: Indices = None) -> Settlements:
        return self._by_script(received, indices, "dead-letter")

    def close(self) -> None:
        """The consumer's name stays: XGROUP DELCONSUMER would discard its unsettled deliveries."""
        if self._guard.close():
            self._connection.close()

    # Receiving

    def _ask(self, commands: Sequence[bytes], blocks_s: float = 0.0) -> list[Any]:
        if self._connection.closed:
            self._connection = self._connect()
        return self._connection.ask(commands, blocks_s)

    def _read(self, partitions: Sequence[int], count: int, block_s: float = 0.0) -> bytes:
        waiting: tuple[bytes | int, ...] = (b"BLOCK", max(1, int(block_s * 1000))) if block_s > 0 else ()
        streams = [self._streams[partition] for partition in partitions]
        head = (b"XREADGROUP", b"GROUP", self._group, self._name, b"COUNT", count)
        return pack(*head, *waiting, b"STREAMS", *streams, *[b">"] * len(streams))

    def _fresh(self, want: int, block_s: float) -> list[Block]:
        """Undelivered entries, at most ``want`` over all streams: COUNT is per stream, so it is shared out."""
        if want < 1:
            return []
        count = len(self._streams)
        self._turn = (self._turn + 1) % count
        order = [(self._turn + at) % count for at in range(count)]
        if block_s <= 0:
            return self._top_up(order, want)
        if want < count:
            return self._wait_for_few(order, want, block_s)
        share = want // count
        (reply,) = self._ask([self._read(order, share, block_s)], block_s)
        found = entries_by_stream(good(reply))
        blocks = [Block(at, found[self._streams[at]], 1) for at in order if self._streams[at] in found]
        full = [block.partition for block in blocks if len(block.entries) == share]
        return blocks + self._top_up(full, want - sum(len(block.entries) for block in blocks))

    def _top_up(self, order: list[int], want: int) -> list[Block]:
        """Without waiting: an equal share per stream, then again where a share was used up."""
        blocks: list[Block] = []
        while want > 0 and order:
            share, extra = divmod(want, len(order))
            asked = [(at, share + (place < extra)) for place, at in enumerate(order) if share or place < extra]
            replies = self._ask([self._read([at], count) for at, count in asked])
            order = order[len(asked) :]
            for (at, count), reply in zip(asked, replies, strict=True):
                for entries in entries_by_stream(good(reply)).values():
                    blocks.append(Block(at, entries, 1))
                    want -= len(entries)
                    if len(entries) == count:
                        order.append(at)
        return blocks

    def _wait_for_few(self, order: list[int], want: int, block_s: float) -> list[Block]:
        """Wait on more streams than messages are wanted: a plain XREAD wakes us, so that none is taken in excess.

        It reads the last ids before it looks for entries, so it does not sleep over an arrival in between.
        """
        replies = self._ask([pack(b"XREVRANGE", self._streams[at], b"+", b"-", b"COUNT", 1) for at in order])
        last = [reply[0][0] if good(reply) else b"0-0" for reply in replies]
        if blocks := self._top_up(order, want):
            return blocks
        names = [self._streams[at] for at in order]
        waiting = (b"XREAD", b"COUNT", 1, b"BLOCK", max(1, int(block_s * 1000)), b"STREAMS")
        good(self._ask([pack(*waiting, *names, *last)], block_s)[0])
        return self._top_up(order, want)

    def _claim(self, want: int) -> list[Block]:
        """Claim at most ``want`` deliveries with an ended lease."""
        blocks: list[Block] = []
        for partition, stream in enumerate(self._streams):
            entries: list[Entry] = []
            for _ in range(min(_CLAIM_ROUNDS, -(-_CLAIM_SCAN // (10 * want)))):
                command = (b"XAUTOCLAIM", stream, self._group, self._name, self._lease_ms, self._cursors[partition])
                (reply,) = self._ask([pack(*command, b"COUNT", want)])
                self._cursors[partition], entries, *gone = good(reply)
                self.trimmed_while_pending += len(gone[0]) if gone else 0
                if entries or self._cursors[partition] == b"0-0":
                    break
            if entries and (block := self._counted(partition, entries)):
                blocks.append(block)
                want -= len(block.entries)
            if want < 1:
                break
        self._next_claim = time.monotonic() + (0.0 if blocks else self._claim_period_s)
        return blocks

    def _counted(self, partition: int, entries: list[Entry]) -> Block | None:
        """The entries with delivery counts; those delivered too often go to the dead letters instead."""
        stream = self._streams[partition]
        asked = [pack(b"XPENDING", stream, self._group, entry[0], entry[0], 1, self._name) for entry in entries]
        counts = [good(reply)[0][3] if reply else 0 for reply in self._ask(asked)]
        limit = self._max_deliveries
        kept = [at for at, count in enumerate(counts) if count and (limit is None or count <= limit)]
        dead = [at for at, count in enumerate(counts) if limit is not None and count > limit]
        if dead:
            pairs = [word for at in dead for word in (entries[at][0], b"%d" % counts[at])]
            good(self._ask([self._script(partition, "dead-letter", pairs)])[0])
        if not kept:
            return None
        return Block(partition, [entries[at] for at in kept], 0, [counts[at] for at in kept])

    # Settling

    def _by_stream(
        self, received: Received, found: Outcomes, indices: Indices
    ) -> list[tuple[int, Sequence[int], list[bytes]]]:
        """(partition, which of ``found``, entry ids) for each stream concerned."""
        if not len(received):
            return []
        handle: Handle = received.handle
        if indices is None:
            return [(partition, range(start, stop), handle.ids[start:stop]) for partition, start, stop in handle.runs]
        groups: dict[int, tuple[list[int], list[bytes]]] = {}
        for row, (partition, at) in enumerate(zip(found.partitions.tolist(), found.rows.tolist(), strict=True)):
            rows, ids = groups.setdefault(partition, ([], []))
            rows.append(row)
            ids.append(handle.ids[at])
        return [(partition, rows, ids) for partition, (rows, ids) in groups.items()]

    def _script(self, partition: int, action: str, pairs: Sequence[bytes]) -> bytes:
        keys = [self._streams[partition]]
        if action == "dead-letter" and self._dead_streams:
            # The same key stays on the same dead-letter stream.
            keys.append(self._dead_streams[partition % len(self._dead_streams)])
        return pack(b"EVAL", _SETTLE, len(keys), *keys, self._group, self._name, action, *pairs)

    def _by_script(self, received: Received, indices: Indices, action: str) -> Settlements:
        with self._guard:
            found = Outcomes.of(received, indices, Outcome.ACKNOWLEDGED)
            counts = received.delivery_counts[found.rows].tolist()
            runs = []
            for partition, rows, ids in self._by_stream(received, found, indices):
                pairs = [word for row, name in zip(rows, ids, strict=True) for word in (name, b"%d" % counts[row])]
                runs.append((rows, self._script(partition, action, pairs)))
            self._next_claim = 0.0
            return self._settle(found, runs)

    def _settle(self, found: Outcomes, runs: Sequence[tuple[Sequence[int], bytes]]) -> Settlements:
        """One round trip for all streams. ``runs``: (which of ``found``, the command that decides them)."""
        try:
            replies = self._ask([command for _, command in runs]) if runs else []
        except Unreachable as error:
            found.tell(slice(None), Outcome.UNKNOWN, str(error))
            replies, runs = [], []
        for (rows, _), reply in zip(runs, replies, strict=True):
            if isinstance(reply, hiredis.ReplyError):
                found.tell(rows, Outcome.REJECTED, str(reply))
            elif isinstance(reply, list):
                lost = [row for row, done in zip(rows, reply, strict=True) if not done]
                found.tell(lost, Outcome.REJECTED, "its lease has ended")
        return found.settlements()
