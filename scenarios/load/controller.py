"""Control the load processes of one cell: start them once, open channels, run windows, drain at the end.

The controller counts the messages that the broker is known to hold for each group of consumers, so that a window knows
how many are left and a channel ends with a proof that it is empty.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import count
from typing import Self

from brokerbench.brokers.errors import Unsupported
from brokerbench.brokers.types import ChannelSpec, ConsumerSettings, Durability
from brokerbench.scenarios.base import Context, LoadProcess
from brokerbench.scenarios.clients import channels, drains
from brokerbench.scenarios.history import Writer
from brokerbench.scenarios.load import workload
from brokerbench.scenarios.load.load_commands import (
    CONSUMER,
    PRODUCER,
    Backlog,
    Close,
    Consume,
    Consumed,
    Halt,
    MeasureCeiling,
    OnProgress,
    OpenConsumer,
    OpenProducer,
    Pace,
    Publish,
    Published,
    ask,
    ask_all,
    no_progress,
    reports,
    share_passed,
)
from brokerbench.scenarios.load.overload import BacklogBound
from brokerbench.scenarios.load.schedule import Schedule
from brokerbench.scenarios.load.usage import HostUsage
from brokerbench.scenarios.metrics import own_time

START_S = 30.0
_LEAD_NS = 20_000_000
"""Commands go out this long before a window, in ns, so that all processes begin together."""
_SLACK_S = 60.0
"""A process whose report is later than this, in seconds, is lost."""
_LATE_AFTER_NS, _OVERRUN_S = 100_000_000, 1.0
"""Where an experiment has no limit of its own, or no grace."""
_IDLE_S = 0.3
_DRAIN_BATCH = 1000
_NO_WINDOW = -1
_SURELY_EMPTY_S = 3.0
"""Without other proof, a channel that delivers nothing for this many seconds is empty."""
_LAST_LOOK_S = 0.3
_LEASE_S = 30.0


@contextmanager
def load_controller(context: Context, event: str) -> Iterator[LoadController]:
    """A controller with parameters as the profile honours them, which stand in the ``event`` mark of its history."""
    limits = context.declaration.limits
    context = replace(context, parameters=workload.as_honoured(context.parameters, limits))
    with context.writer(event) as writer:
        writer.mark(
            event,
            parameters=dict(context.parameters),
            settle_resolution=limits.settle_resolution.value,
            drain_proof=limits.drain_proof,
        )
        with LoadController(context, writer) as controller:
            yield controller


class LoadController:
    """Producers and consumers of one cell, from ``with`` to its end."""

    def __init__(self, context: Context, writer: Writer) -> None:
        self.context = context
        self._parameters, self._writer = context.parameters, writer
        self._windows, self._producer_numbers, self._openings = count(), count(), count()
        self._channel = ""
        self._groups = _group_names(context)
        self._members = int(self._parameters["consumers"])
        # Messages of the current channel: those known to be taken by the broker, and those each group received.
        self._published, self._received = 0, [0] * len(self._groups)
        self._late_after_ns: int | None = None
        self.late = 0
        """Messages of the last paced window received later than its limit so far, by all groups together."""
        self.unsent = 0
        """Messages of the last paced window that were due and never sent."""
        self.doubts: tuple[str, ...] = ()
        """Why the figures of the last window need not be the broker's; none: it is sound."""
        self.middle_ms: Sequence[float] = ()
        """Of the last window, in a few equal stretches: median latencies that the slowest consumer saw."""
        self._producers: list[LoadProcess] = []
        self._consumers: list[LoadProcess] = []

    def __enter__(self) -> Self:
        self._producers = self._start(PRODUCER, "producer", int(self._parameters["producers"]))
        self._consumers = self._start(CONSUMER, "consumer", self._members * len(self._groups))
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        try:
            if kind is None:
                for process in self._processes:
                    process.wait(_SLACK_S)
        finally:
            for process in self._processes:
                process.kill()

    @property
    def _processes(self) -> list[LoadProcess]:
        return [*self._producers, *self._consumers]

    @property
    def published(self) -> int:
        """Messages that the broker is known to have taken on the current channel."""
        return self._published

    def _missing(self, group: int) -> int:
        """Messages that the broker is known to have taken and this group has not received."""
        return self._published - self._received[group]

    def _of_group(self, group: int) -> list[LoadProcess]:
        return self._consumers[group * self._members : (group + 1) * self._members]

    def _start(self, body: str, role: str, number: int) -> list[LoadProcess]:
        context, directory = self.context, self.context.history_directory
        own = [
            workload.arguments(self._parameters, directory, f"{role}-{at}", run=context.run, seed=context.seed + at)
            for at in range(number)
        ]
        return [context.load.start(body, context.profile, context.endpoint, arguments) for arguments in own]

    def measure_ceilings(self, batches: Sequence[int], seconds: float) -> None:
        """One process after the other: a ceiling is a body's rate on a core of its own."""
        for batch in batches:
            for role, processes in (("publish", self._producers), ("consume", self._consumers)):
                self.context.progress(0.0, f"the ceiling of {role} in batches of {batch}")
                for process in processes:
                    rate = ask(process, MeasureCeiling(batch, seconds), START_S)
                    self._writer.mark("ceiling", role=role, batch=batch, rate=rate)

    def open(self, name: str, in_flight: Sequence[tuple[int, int]]) -> None:
        """Create a channel and open every process on it. ``in_flight``: (batch size, most unsettled messages) pairs."""
        self._channel = f"{self.context.channel_prefix}{name}"
        self._published, self._received = 0, [0] * len(self._groups)
        opening = next(self._openings)
        parameters = self._parameters
        spec = ChannelSpec(
            self._channel,
            partitions=int(parameters["partitions"]),
            lease_s=_LEASE_S,
            durability=Durability(parameters["durability"]),
        )
        channels.create(self.context.broker, spec, self._writer)
        for at, process in enumerate(self._consumers):
            number = opening * len(self._consumers) + at
            group = self._groups[at // self._members]
            process.command(OpenConsumer(self._channel, number, group, int(parameters["acknowledge_every"])))
        reports(self._consumers, START_S)
        for batch, most in in_flight:
            for process in self._producers:
                process.command(OpenProducer(self._channel, next(self._producer_numbers), batch, most))
            reports(self._producers, START_S)

    def left_out(self, what: str, why: str) -> None:
        """Record that the experiment does not show something that it was asked for."""
        self._writer.mark("left_out", what=what, why=why)

    def close(self) -> None:
        """Prove that the channel is empty, and delete it."""
        self._prove_drained()
        ask_all(self._processes, Close(), START_S)
        self.context.broker.delete_channel(self._channel)

    def window(
        self, mode: str, batch: int, window_s: float, *, warmup: bool = False, on_progress: OnProgress = no_progress
    ) -> int:
        """Closed loop: ``publish``, ``consume`` or ``both`` as fast as they can.

        Returns the messages received by the group that received least.
        """
        before = list(self._received)
        start_ns = _soon_ns()
        end_ns = start_ns + int(window_s * 1e9)
        number = next(self._windows)
        publishing = self._producers if mode in ("publish", "both") else []
        consuming = self._consumers if mode in ("consume", "both") else []
        # A group of one consumer knows when it has everything; several stop when nothing comes.
        knows = mode == "consume" and self._members == 1
        patience_s = _IDLE_S if mode == "consume" and not knows else window_s
        for process in publishing:
            process.command(Publish(number, batch, start_ns, end_ns))
        for at, process in enumerate(consuming):
            left = self._missing(at) if knows else None
            process.command(Consume(number, batch, start_ns, end_ns, left, patience_s))
        host = HostUsage(start_ns, self.context.engine_use, self.context.machine_use)
        self._late_after_ns = None
        waiting = share_passed(on_progress, start_ns, end_ns)
        consumed: list[Consumed] = reports(consuming, window_s + _SLACK_S, waiting)
        drained = self._consumed(consumed)
        published: list[Published] = reports(publishing, window_s + _SLACK_S, waiting)
        if publishing:
            self._published = sum(report.acknowledged for report in published)
        used = host.used()
        own = own_time.doubts([each.own for each in consumed] + [each.own for each in published])
        self.doubts = (*used["doubts"], *own)
        self._writer.mark(
            "window",
            window=number,
            mode=mode,
            batch=batch,
            warmup=warmup,
            start_ns=start_ns,
            end_ns=end_ns,
            drained=drained and mode == "consume",
            **{**used, "doubts": list(self.doubts)},
        )
        return min(after - earlier for after, earlier in zip(self._received, before, strict=True))

    def paced(
        self,
        purpose: str,
        batch: int,
        schedule: Schedule,
        *,
        warmup: bool = False,
        consumers_away_s: float = 0.0,
        late_after_s: float | None = None,
        on_progress: OnProgress = no_progress,
    ) -> int:
        """Open loop: producers follow the schedule; consumers receive, from ``consumers_away_s`` on.

        Returns the messages due and not received at the schedule's end, of the group with the most. Messages whose time
        has passed are still sent, until ``overrun_s`` after the schedule's end; the rest never is. ``late`` counts the
        messages received more than ``late_after_s`` after they were due, in this window or while it is drained.
        """
        self._late_after_ns = None if late_after_s is None else int(late_after_s * 1e9)
        self.late = 0
        late_ns, overrun_s = self._late_after_ns or _LATE_AFTER_NS, float(self._parameters.get("overrun_s", _OVERRUN_S))
        start_ns = _soon_ns()
        end_ns = start_ns + int(schedule.duration_s * 1e9)
        number = next(self._windows)
        for at, process in enumerate(self._producers):
            pace = Pace(
                number, batch, start_ns, schedule, at, len(self._producers), self.context.seed, overrun_s, late_ns
            )
            process.command(pace)
        begin_ns = start_ns + int(consumers_away_s * 1e9)
        for process in self._consumers:
            process.command(Consume(number, batch, begin_ns, end_ns, None, schedule.duration_s, self._late_after_ns))
        host = HostUsage(start_ns, self.context.engine_use, self.context.machine_use)
        passed, halted = share_passed(on_progress, start_ns, end_ns), list[str]()
        bytes_a_second = schedule.rate * float(self._parameters["size"])
        most_bytes = float(self._parameters.get("most_backlog_bytes", 0))
        bound = BacklogBound(self.context, self._channel, self._groups, bytes_a_second, most_bytes)

        def waiting() -> None:
            passed()
            if not halted and (reason := bound.passed()):
                halted.append(reason)
                for process in self._producers:
                    process.command(Halt())

        consumed: list[Consumed] = reports(self._consumers, schedule.duration_s + _SLACK_S, waiting)
        self._consumed(consumed)
        published: list[Published] = reports(self._producers, schedule.duration_s + overrun_s + _SLACK_S, waiting)
        if halted:
            reports(self._producers, _SLACK_S)
        self._published = sum(report.acknowledged for report in published)
        self.unsent = sum(report.unsent for report in published)
        used = host.used()
        own = own_time.doubts([each.own for each in published] + [each.own for each in consumed], late_ns / 1e6)
        self.doubts = (*used["doubts"], *own)
        self.middle_ms = max((report.middle_ms for report in consumed), key=lambda each: sum(each))
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
            unsent=self.unsent,
            halted="; ".join(halted),
            **{**used, "doubts": list(self.doubts)},
        )
        return self.unsent + max(map(self._missing, range(len(self._groups))))

    def _consumed(self, found: Sequence[Consumed]) -> bool:
        """Count the messages of each consumer; True when all ended early because nothing was left."""
        for at, report in enumerate(found):
            self._received[at // self._members] += report.received
            self.late += report.late
        return all(report.early for report in found)

    def drain(self, patience_s: float = _SURELY_EMPTY_S) -> None:
        """Receive the rest, outside of any window; give up when nothing arrives for ``patience_s``."""
        now = last = time.monotonic()
        deadline = now + float(self._parameters["drain_s"])
        while (behind := self._behind()) and now < min(deadline, last + patience_s):
            # One consumer stops at the last message. Several cannot know which is the last: they look repeatedly.
            found = self._take(behind, deadline, patience_s if self._members == 1 else _IDLE_S)
            now = time.monotonic()
            last = now if found else last

    def warmed_up(self, patience_s: float) -> None:
        """End a warm-up: receive the rest of it. What is left then is recorded: consumers are not warm."""
        self.drain(patience_s)
        for group in self._behind():
            self.left_out(
                f"a part of the warm-up of {self._groups[group]}",
                f"{self._missing(group):,} of {self._published:,} messages were not received in time",
            )

    def _behind(self) -> list[int]:
        """Groups that have not received everything."""
        return [group for group in range(len(self._groups)) if self._missing(group) > 0]

    def _take(self, groups: Sequence[int], deadline: float, idle_s: float) -> int:
        """Messages that these groups received until the deadline, or until nothing arrived for ``idle_s``."""
        now = time.monotonic()
        for group in groups:
            missing = self._missing(group)
            count = missing if self._members == 1 and missing > 0 else None
            until_ns = int(deadline * 1e9)
            command = Consume(_NO_WINDOW, _DRAIN_BATCH, int(now * 1e9), until_ns, count, idle_s, self._late_after_ns)
            for process in self._of_group(group):
                process.command(command)
        before = sum(self._received)
        for group in groups:
            for report in reports(self._of_group(group), deadline - now + _SLACK_S):
                self._received[group] += report.received
                self.late += report.late
        return sum(self._received) - before

    def _prove_drained(self) -> None:
        """By group: one more look finds none, and every message arrived or the broker says that none is left.

        Silence alone proves nothing: a consumer may be starved, stopped, or without its assignment. A group for which
        the broker says that messages are left looks for longer than a lease, and its failed drain is recorded.
        """
        self.drain()
        begun = now = time.monotonic()
        deadline = begun + float(self._parameters["drain_s"])
        last_deadline = deadline + _LEASE_S + 2 * drains.BEYOND_LEASE_S
        waiting = {group: _Wait(begun, None) for group in range(len(self._groups))}
        while waiting and (now < deadline or (now < last_deadline and any(wait.left for wait in waiting.values()))):
            look_s = _SURELY_EMPTY_S if waiting.keys() & set(self._behind()) else _LAST_LOOK_S
            before = list(self._received)
            self._take(list(waiting), max(deadline, now + 2 * look_s), look_s)
            now = time.monotonic()
            for group in list(waiting):
                if self._received[group] > before[group]:
                    waiting[group] = _Wait(now, None)
                    continue
                left = ask(self._of_group(group)[0], Backlog(), START_S)
                waiting[group] = replace(waiting[group], left=left)
                if left == 0 or (left is None and self._missing(group) <= 0):
                    self._drained(group, look_s, left)
                    del waiting[group]
        for group, wait in waiting.items():
            drains.mark_failed(
                self._writer,
                self._channel,
                self._groups[group],
                waited_s=now - begun,
                left=wait.left,
                unsettled=0,  # consumers settle everything at the end of each command
                quiet_s=now - wait.quiet_since,
                lease_s=_LEASE_S,
            )

    def _drained(self, group: int, look_s: float, backlog: int | None) -> None:
        self._writer.mark(
            "drained",
            channel=self._channel,
            group=self._groups[group],
            published=self._published,
            received=self._received[group],
            empty_for_s=look_s,
            backlog=backlog,
        )


@dataclass(frozen=True, slots=True)
class _Wait:
    """A group whose drain is not proven: its last arrival on the monotonic clock, and the broker's count."""

    quiet_since: float
    left: int | None


def _group_names(context: Context) -> list[str]:
    """Raises Unsupported for several groups on a profile where each would not get every message."""
    count = int(context.parameters["groups"])
    usual = ConsumerSettings().group
    if count == 1:
        return [usual]
    if not context.declaration.limits.has_groups:
        raise Unsupported(
            f"groups: {count}",
            f"{context.profile} has no groups, all consumers of a channel share its messages; use groups: 1",
        )
    return [f"{usual}-{at}" for at in range(count)]


def _soon_ns() -> int:
    return time.monotonic_ns() + _LEAD_NS
