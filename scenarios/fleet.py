"""The load processes of one cell under command: started once, given channels and windows, drained at the end.

Counts what the broker is known to hold, so that a window knows what is left and a channel ends with a proof
that it is empty.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from itertools import count
from types import TracebackType
from typing import Any, Self

import psutil

from brokers.types import ChannelSpec, Durability
from scenarios import workload
from scenarios.base import Context, EngineUse, LoadProcess
from scenarios.history import Writer
from scenarios.load_bodies import Backlog, Close, Consume, OpenConsumer, OpenProducer, Order, Pace, Price, Publish
from scenarios.schedule import Schedule

START_S = 30.0
_LEAD_NS = 20_000_000
"""Orders go out this long before a window, so that all processes begin together."""
_SLACK_S = 60.0
"""A process that is later than this with its report is lost."""
_IDLE_S = 0.3
_DRAIN_BATCH = 1000
_NO_WINDOW = -1
_SURELY_EMPTY_S = 3.0
"""Without other proof, a channel that gives nothing for so long is empty."""
_LAST_LOOK_S = 0.3


class Fleet:
    """Producers and consumers of one cell. A context: on leaving, all are gone."""

    def __init__(self, context: Context, writer: Writer) -> None:
        self._context, self._parameters, self._writer = context, context.parameters, writer
        self._windows, self._producer_numbers, self._openings = count(), count(), count()
        self._channel = ""
        # Messages of the current channel: known to be taken by the broker, received again.
        self._published = self._received = 0
        self._producers: list[LoadProcess] = []
        self._consumers: list[LoadProcess] = []

    def __enter__(self) -> Self:
        self._producers = self._start("produce", "producer", int(self._parameters["producers"]))
        self._consumers = self._start("consume", "consumer", int(self._parameters["consumers"]))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if error is None:
                for process in self._everyone:
                    process.wait(_SLACK_S)
        finally:
            for process in self._everyone:
                process.kill()

    @property
    def _everyone(self) -> list[LoadProcess]:
        return [*self._producers, *self._consumers]

    @property
    def backlog(self) -> int:
        """Messages that the broker is known to have taken and nobody has received."""
        return self._published - self._received

    def _start(self, body: str, role: str, number: int) -> list[LoadProcess]:
        context, parameters = self._context, self._parameters
        return [
            context.load.start(
                f"scenarios.load_bodies:{body}",
                context.profile,
                context.endpoint,
                {
                    "history": str(context.history_directory),
                    "name": f"{role}-{at}",
                    "run": context.run,
                    "seed": context.seed + at,
                    "payloads": workload.payload_spec(parameters),
                    "keys": workload.key_spec(parameters),
                    "settings": workload.producer_settings(parameters),
                    "acknowledge_every": self._acknowledge_every(),
                },
            )
            for at in range(number)
        ]

    def _acknowledge_every(self) -> int:
        wanted = int(self._parameters["acknowledge_every"])
        most = self._context.declaration.limits.max_unsettled_batches
        return wanted if most is None else min(wanted, most)

    def price(self, batches: Sequence[int], seconds: float) -> None:
        """One process after the other: a ceiling is what a body does with a core of its own."""
        for batch in batches:
            for role, processes in (("publish", self._producers), ("consume", self._consumers)):
                self._context.progress(0.0, f"the ceiling of {role} in batches of {batch}")
                for process in processes:
                    (rate,) = _all([process], Price(batch, seconds), START_S)
                    self._writer.mark("ceiling", role=role, batch=batch, rate=rate)

    def open(self, name: str, in_flight: Sequence[tuple[int, int]]) -> None:
        """A new channel with everybody on it. ``in_flight``: batch sizes, each with its most unsettled messages."""
        self._channel = f"{self._context.channel_prefix}{name}"
        self._published = self._received = 0
        opening = next(self._openings)
        parameters = self._parameters
        self._context.broker.create_channel(
            ChannelSpec(
                self._channel, partitions=int(parameters["partitions"]), durability=Durability(parameters["durability"])
            )
        )
        for at, process in enumerate(self._consumers):
            process.order(OpenConsumer(self._channel, opening * len(self._consumers) + at))
        _reports(self._consumers, START_S)
        for batch, most in in_flight:
            for process in self._producers:
                process.order(OpenProducer(self._channel, next(self._producer_numbers), batch, most))
            _reports(self._producers, START_S)

    def close(self) -> None:
        """Prove that the channel is empty, and delete it."""
        self._prove_drained()
        _all(self._everyone, Close(), START_S)
        self._context.broker.delete_channel(self._channel)

    def window(self, mode: str, batch: int, window_s: float, *, warmup: bool = False) -> int:
        """Closed loop: ``publish``, ``consume`` or ``both`` as fast as they can. Returns the messages received."""
        before = self._received
        start_ns = _soon_ns()
        end_ns = start_ns + int(window_s * 1e9)
        number = next(self._windows)
        publishing = self._producers if mode in ("publish", "both") else []
        consuming = self._consumers if mode in ("consume", "both") else []
        # One consumer knows when it has everything; several stop when nothing comes.
        left = self.backlog if mode == "consume" and len(consuming) == 1 else None
        patience_s = _IDLE_S if mode == "consume" and left is None else window_s
        for process in publishing:
            process.order(Publish(number, batch, start_ns, end_ns))
        for process in consuming:
            process.order(Consume(number, batch, start_ns, end_ns, left, patience_s))
        machine = _Machine(start_ns, self._context.engine_use)
        drained = self._consumed(_reports(consuming, window_s + _SLACK_S))
        if publishing:
            self._published = sum(_reports(publishing, window_s + _SLACK_S))
        self._writer.mark(
            "window",
            window=number,
            mode=mode,
            batch=batch,
            warmup=warmup,
            start_ns=start_ns,
            end_ns=end_ns,
            drained=drained and mode == "consume",
            **machine.used(),
        )
        return self._received - before

    def paced(
        self, purpose: str, batch: int, schedule: Schedule, *, warmup: bool = False, consumers_away_s: float = 0.0
    ) -> int:
        """Open loop: producers follow the schedule; consumers take what comes, from ``consumers_away_s`` on.

        Returns the backlog at the schedule's end. Late messages are sent nevertheless, and none is left out.
        """
        start_ns = _soon_ns()
        end_ns = start_ns + int(schedule.duration_s * 1e9)
        number = next(self._windows)
        for at, process in enumerate(self._producers):
            process.order(Pace(number, batch, start_ns, schedule, at, len(self._producers), self._context.seed))
        begin_ns = start_ns + int(consumers_away_s * 1e9)
        for process in self._consumers:
            process.order(Consume(number, batch, begin_ns, end_ns, None, schedule.duration_s))
        machine = _Machine(start_ns, self._context.engine_use)
        self._consumed(_reports(self._consumers, schedule.duration_s + _SLACK_S))
        # Everything is sent, however late: a broker at a tenth of the asked rate needs ten times as long.
        self._published = sum(_reports(self._producers, 20 * schedule.duration_s + _SLACK_S))
        self._writer.mark(
            "paced",
            window=number,
            purpose=purpose,
            batch=batch,
            warmup=warmup,
            rate=schedule.rate,
            shape=schedule.shape,
            arrivals=schedule.arrivals,
            consumers_away_s=consumers_away_s,
            start_ns=start_ns,
            end_ns=end_ns,
            **machine.used(),
        )
        return self.backlog

    def _consumed(self, reports: Sequence[tuple[int, bool]]) -> bool:
        """Count what came; True when all ended before their time, having nothing left to take."""
        self._received += sum(received for received, _ in reports)
        return all(early for _, early in reports)

    def drain(self, patience_s: float = _SURELY_EMPTY_S) -> None:
        """Take what is left, outside of any window; give up when nothing comes for ``patience_s``."""
        now = came = time.monotonic()
        deadline = now + float(self._parameters["drain_s"])
        while self._received < self._published and now < min(deadline, came + patience_s):
            # One consumer stops at the last message. Several cannot know which is the last: they look again and again.
            idle_s = patience_s if len(self._consumers) == 1 else _IDLE_S
            found = self._take(deadline, idle_s)
            now = time.monotonic()
            came = now if found else came

    def _take(self, deadline: float, idle_s: float) -> int:
        """Number of messages that came until the deadline, or until nothing came for ``idle_s``."""
        before = self._received
        missing = self._published - before if len(self._consumers) == 1 and before < self._published else None
        now = time.monotonic()
        order = Consume(_NO_WINDOW, _DRAIN_BATCH, int(now * 1e9), int(deadline * 1e9), missing, idle_s)
        self._consumed(_all(self._consumers, order, deadline - now + _SLACK_S))
        return self._received - before

    def _prove_drained(self) -> None:
        """Everything came and one more look finds nothing; or the channel gave nothing for a long time."""
        self.drain()
        deadline = time.monotonic() + float(self._parameters["drain_s"])
        while time.monotonic() < deadline:
            look_s = _LAST_LOOK_S if self._received >= self._published else _SURELY_EMPTY_S
            came = self._take(deadline, look_s)
            (backlog,) = _all(self._consumers[:1], Backlog(), START_S)
            if not came and not backlog:
                self._writer.mark(
                    "drained",
                    channel=self._channel,
                    published=self._published,
                    received=self._received,
                    empty_for_s=look_s,
                    backlog=backlog,
                )
                return


class _Machine:
    """What is used over a window: by all of this host, strangers included; and by the broker's own processes."""

    def __init__(self, start_ns: int, engine_use: Callable[[], EngineUse | None]) -> None:
        time.sleep(max(0.0, (start_ns - time.monotonic_ns()) / 1e9))
        self._engine_use = engine_use
        self._begin = time.monotonic(), self._busy_s(), engine_use()

    def used(self) -> dict[str, Any]:
        """Attributes for a mark: ``machine_cores``, and ``engine`` where its processes could be looked at."""
        began, busy_before_s, before = self._begin
        after = self._engine_use()
        wall_s, busy_s = time.monotonic() - began, self._busy_s() - busy_before_s
        used: dict[str, Any] = {"machine_cores": max(0.0, busy_s / wall_s)}
        if before is not None and after is not None:
            used["engine"] = {
                "seconds": wall_s,
                "cpu_ns": after.cpu_ns - before.cpu_ns,
                "resident_bytes": after.resident_bytes,
                "disk_bytes": after.disk_bytes - before.disk_bytes,
                "network_bytes": after.network_bytes - before.network_bytes,
            }
        return used

    @staticmethod
    def _busy_s() -> float:
        times = psutil.cpu_times()
        # Guests are counted within user and nice already; what a hypervisor stole was not to be had.
        idle_s = times.idle + getattr(times, "iowait", 0.0)
        guests_s = getattr(times, "guest", 0.0) + getattr(times, "guest_nice", 0.0)
        return float(sum(times) - idle_s - guests_s)


def _soon_ns() -> int:
    return time.monotonic_ns() + _LEAD_NS


def _all(processes: Sequence[LoadProcess], order: Order, timeout_s: float) -> list[Any]:
    for process in processes:
        process.order(order)
    return _reports(processes, timeout_s)


def _reports(processes: Sequence[LoadProcess], timeout_s: float) -> list[Any]:
    return [process.report(timeout_s) for process in processes]
