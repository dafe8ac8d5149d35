"""Does a load process need more memory the longer it runs?

``python -m brokerbench.bench.lab.memory_growth --profile kafka``. One producer and one consumer, each a load process as
in ``throughput``, send and take many messages at once in one channel that the broker keeps bounded by size. Everything
is stamped, written down, verified and acknowledged as in any cell. Each process notes its resident memory at the end of
every window; the last minute is held against the first one after the warm-up. Between windows the consumer catches up,
so that the bound removes nothing that is still to be read.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import count
from pathlib import Path

import numpy as np

from brokerbench.bench.calibration import own_client
from brokerbench.bench.calibration.own_client import NO_LIMIT_NS, ClientLoad, OwnClient, Verified
from brokerbench.bench.engines.base import EngineChoice
from brokerbench.bench.errors import BadInput, BenchError, CheckFailed
from brokerbench.bench.load.processes import Processes
from brokerbench.bench.run.session import open_session
from brokerbench.brokers import registry
from brokerbench.brokers.protocols import Broker, Retaining
from brokerbench.brokers.types import ChannelSpec, Endpoint, Retention
from brokerbench.scenarios import history
from brokerbench.scenarios.base import LoadFailed
from brokerbench.scenarios.history import saved_history

LOAD = ClientLoad(size=1024, batch=1000, in_flight=10_000)
PARTITIONS = 3
WINDOW_S, WARMUP_S, MINUTE_S = 3.0, 60.0, 60.0
BOUNDS = {
    # Segments end the granularity of removal: a bound of one segment would remove what is being written.
    "kafka": Retention(max_bytes=6 << 30, segment_bytes=128 << 20),
    "redis-streams": Retention(max_messages=2_500_000),
}
ALLOWED = 0.05
"""Allowed relative difference between the last minute and the first."""
_AWAY = 2
"""Number of windows before the consumer keeps up. In the first it joins; in the second it takes nothing, so that its
client's prefetch buffer fills once: otherwise it would fill at a random later time."""
_MOST_BEHIND = 300_000
"""Number of messages; an eighth of the smaller bound."""
_HISTORY_BYTES = 60
"""Bytes a message, send and receive together; 22 were measured."""
_PATIENCE_S = 20.0
"""Seconds without a message after which the consumer gives up."""


@dataclass(frozen=True, slots=True)
class ProcessMemory:
    """Medians of one load process's resident bytes: first minute after the warm-up, and last minute."""

    role: str
    first_bytes: float
    last_bytes: float
    most_bytes: float
    resident_bytes: Sequence[int]
    """At the end of each window."""

    @property
    def ratio(self) -> float:
        return self.last_bytes / self.first_bytes

    @property
    def flat(self) -> bool:
        return abs(self.ratio - 1) <= ALLOWED


@dataclass(frozen=True, slots=True)
class MemoryGrowth:
    profile: str
    version: str
    messages: int
    seconds: float
    history_bytes: int
    memory: Sequence[ProcessMemory]
    verified: Verified


def measure(profile: str, messages: int) -> MemoryGrowth:
    """Raises BadInput (no room on the disk, unknown profile), EngineUnavailable, CheckFailed (lost, or too short)."""
    if profile not in BOUNDS:
        raise BadInput(f"--profile {profile}: a bound by size is known for {', '.join(BOUNDS)}")
    with open_session(EngineChoice.NATIVE) as session:
        directory = session.guard.directory("memory-growth")
        _require_room(directory, profile, messages)
        site = session.ready(profile)
        began_s = time.monotonic()
        _load(profile, site.endpoint, f"{session.prefix}growth", directory / "history", messages)
        seconds = time.monotonic() - began_s
        written = sum(path.stat().st_size for path in (directory / "history").iterdir())
        checked = own_client.verified(directory / "history")
        marks = saved_history.marks(directory / "history")
    _require_all(checked)
    return MemoryGrowth(profile, site.engine.version, messages, seconds, written, memory(marks), checked)


def _require_all(found: Verified) -> None:
    """Raises CheckFailed unless every message was acknowledged, and received once and intact."""
    if not found.sent == found.acknowledged == found.received == found.intact or found.again:
        raise CheckFailed(f"not every message came once and intact: {_counts(found)}")


def memory(marks: Sequence[history.Mark]) -> list[ProcessMemory]:
    """Raises CheckFailed for a run too short to have two minutes."""
    found = []
    for role in ("producer", "consumer"):
        usage = [mark for mark in marks if mark["event"] == "usage" and mark["role"] == role]
        at_s = np.array([mark["at_ns"] for mark in usage], np.int64) / 1e9
        resident = np.array([mark["resident_bytes"] for mark in usage], np.int64)
        if not len(at_s) or at_s[-1] - at_s[0] < WARMUP_S + 2 * MINUTE_S:
            raise CheckFailed("the run was too short to hold its last minute against its first: ask for more messages")
        begin_s = at_s[0] + WARMUP_S
        first = resident[(at_s >= begin_s) & (at_s < begin_s + MINUTE_S)]
        last = resident[at_s > at_s[-1] - MINUTE_S]
        medians = float(np.median(first)), float(np.median(last))
        found.append(ProcessMemory(role, *medians, float(resident.max()), resident.tolist()))
    return found


def _require_room(directory: Path, profile: str, messages: int) -> None:
    bound = BOUNDS[profile]
    kept = bound.max_bytes or LOAD.size * (bound.max_messages or 0)
    # An append-only file is rewritten beside the old one.
    needed = 3 * kept + _HISTORY_BYTES * messages
    free = shutil.disk_usage(directory).free
    if free < needed:
        raise BadInput(
            f"{directory}: {free / 1e9:.1f} GB are free, {needed / 1e9:.1f} GB are needed (TMPDIR names another)"
        )


def _load(profile: str, endpoint: Endpoint, channel: str, directory: Path, messages: int) -> None:
    broker = registry.connect(profile, endpoint)
    broker.create_channel(ChannelSpec(channel, partitions=PARTITIONS, retention=BOUNDS[profile]))
    with Processes() as load:
        client = OwnClient(load, profile, endpoint, directory, LOAD, _PATIENCE_S)
        with client.producing(channel), client.consuming(channel, "own"):
            _exchange(client, broker, channel, messages)
        client.close()
    broker.delete_channel(channel)
    broker.close()


def _exchange(client: OwnClient, broker: Broker, channel: str, messages: int) -> None:
    sent = received = 0
    began_s, window_ns = time.monotonic(), int(WINDOW_S * 1e9)
    for window in count():
        start_ns = time.monotonic_ns()
        publishing = sent < messages
        if publishing:
            client.begin_publishing(start_ns, start_ns + window_ns)
        if window >= _AWAY:
            received += client.take(None, window_ns)
        if publishing:
            sent = client.published(WINDOW_S)
        behind = sent - received
        if not window or behind > _MOST_BEHIND or (sent >= messages and behind):
            received += client.take(behind if window else 1, NO_LIMIT_NS)
            if window and received < sent:
                break  # the history shows which messages are missing
        if isinstance(broker, Retaining):  # a profile without a policy of its own keeps everything until asked
            broker.enforce_retention(channel)
        _tell(sent, messages, time.monotonic() - began_s)
        if sent >= messages and received >= sent:
            break


def _tell(sent: int, messages: int, seconds: float) -> None:
    left_s = seconds / sent * (messages - sent) if sent else float("nan")
    speed = f"{sent / seconds:,.0f} a second, {max(left_s, 0):,.0f} s left "
    print(f"\r{min(sent / messages, 1.0):4.0%} of {messages:,} messages, {speed}", end="", file=sys.stderr, flush=True)


def text(found: MemoryGrowth) -> str:
    rows = [
        f"{memory.role:<9} {memory.first_bytes / 1e6:7.1f} MB in the first minute, "
        f"{memory.last_bytes / 1e6:7.1f} MB in the last: "
        f"{memory.ratio:.3f} x ({'flat' if memory.flat else 'NOT FLAT'}), {memory.most_bytes / 1e6:.1f} MB at most"
        for memory in found.memory
    ]
    checked = found.verified
    return "\n".join(
        [
            f"{found.profile} {found.version}: {checked.received:,} messages of {LOAD.size} bytes "
            f"in {found.seconds:,.0f} s ({checked.received / found.seconds:,.0f} a second)",
            *rows,
            f"verified: {_counts(checked)}; history {found.history_bytes / 1e9:.2f} GB",
        ]
    )


def _counts(found: Verified) -> str:
    return (
        f"{found.sent:,} sent, {found.acknowledged:,} acknowledged, {found.received:,} received, "
        f"{found.intact:,} intact, {found.again:,} again"
    )


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m brokerbench.bench.lab.memory_growth", description=__doc__)
    parser.add_argument("--profile", default="kafka", choices=BOUNDS)
    parser.add_argument("--messages", type=int, default=50_000_000)
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    try:
        found = measure(given.profile, given.messages)
    except BenchError as error:
        print(f"\nbrokerbench.bench.lab.memory_growth: {error}", file=sys.stderr)
        return error.exit_code
    except (TimeoutError, LoadFailed) as lost:
        print(f"\nbrokerbench.bench.lab.memory_growth: {lost}", file=sys.stderr)
        return 1
    print(file=sys.stderr)
    rows = [{**asdict(memory), "ratio": memory.ratio, "flat": memory.flat} for memory in found.memory]
    print(json.dumps({**asdict(found), "memory": rows}, indent=2) if given.json else text(found))
    return int(not all(memory.flat for memory in found.memory))


if __name__ == "__main__":
    sys.exit(main())
