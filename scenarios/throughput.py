"""How fast: publish, consume, and both at once, with every message verified and every repeat shown.

Load processes are started once and get their windows one after the other. A repeat has a channel of its own, so that
what a broker keeps does not grow with the run. In it, for each batch size: both at once for a window; then publish
for a window while nobody reads; then consume that backlog, for at most a window. What is left is consumed outside of
the windows, and the channel ends with a proof that it is empty. Batch sizes alternate in an order that follows from
the seed.

All rates are closed-loop: the most that these clients do, one request after the other. Latencies of such a loop
are no latencies under a given rate (what the loop held back while it waited, nobody timed), and say so.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from itertools import count
from typing import Any

import numpy as np
import psutil

from brokers.types import ChannelSpec
from scenarios import throughput_metrics
from scenarios.base import Context, Examination, LoadProcess, Parameters
from scenarios.checkers import corruption, duplicates, loss, phantom, record
from scenarios.checkers.findings import combined
from scenarios.history import History, Writer
from scenarios.load_bodies import Backlog, Close, Consume, OpenConsumer, OpenProducer, Order, Price, Publish

NAME = "throughput"
SUMMARY = "publish, consume and both at once: rates of verified messages, with client CPU and the noop ceiling beside"
DEFAULTS: Parameters = {
    "size": 1024,
    "batches": [100, 1000],
    "repeats": 3,
    "window_s": 3.0,
    "warmup_s": 0.5,
    "producers": 1,
    "consumers": 1,
    "partitions": 3,
    "keys": 1000,
    "modes": ["publish", "consume", "both"],
    "acknowledge_every": 1,
    "batches_in_flight": 10,
    "ceiling_s": 0.3,
    "drain_s": 20.0,
}
PROPERTIES = ("delivery.no_loss", "delivery.intact", "delivery.no_duplicate", "delivery.no_phantom")
MODES = ("both", "publish", "consume")
"""In this order: what is left of the first is part of the backlog that the last consumes."""

_START_S = 30.0
_LEAD_NS = 20_000_000
"""Orders go out this long before a window, so that all processes begin together."""
_JOIN_S = 20.0
"""A consumer may need so long until its first message."""
_SLACK_S = 60.0
"""A process that is later than this with its report is lost."""
_IDLE_S = 0.3
_DRAIN_BATCH = 1000
_NO_WINDOW = -1
_SURELY_EMPTY_S = 3.0
"""Without other proof, a channel that gives nothing for so long is empty."""
_LAST_LOOK_S = 0.3


def alone(parameters: Parameters) -> bool:
    return True


def run(context: Context) -> None:
    unknown = set(context.parameters["modes"]) - set(MODES)
    if unknown:
        raise ValueError(f"unknown mode {min(unknown)!r}; known: {', '.join(MODES)}")
    with context.writer("throughput") as writer:
        writer.mark(
            "throughput",
            parameters=dict(context.parameters),
            settle_resolution=context.declaration.limits.settle_resolution.value,
            drain_proof=context.declaration.limits.drain_proof,
        )
        _Experiment(context, writer).run()


def examine(history: History) -> Examination:
    parts = [_findings(history, channel) for channel in record.channels(history)]
    findings = [combined(name, (part[at] for part in parts)) for at, name in enumerate(PROPERTIES)]
    return Examination(findings, throughput_metrics.metrics(history))


def _findings(history: History, channel: str) -> tuple[Any, ...]:
    """In the order of PROPERTIES."""
    of = record.of_channel(history, channel)
    return (
        loss.lost(of, of.delivered, drained=of.drained()),
        corruption.altered(of, of.delivered),
        duplicates.delivered_again(of, of.delivered),
        phantom.phantoms(of, of.delivered),
    )


class _Experiment:
    """The windows of one cell, ordered one after the other."""

    def __init__(self, context: Context, writer: Writer) -> None:
        self._context, self._parameters, self._writer = context, context.parameters, writer
        self._windows, self._producer_numbers = count(), count()
        self._channel = ""
        # Messages of the current channel: known to be taken by the broker, received again.
        self._published = self._received = 0
        steps = int(self._parameters["repeats"]) * len(self._parameters["batches"]) * 3
        self._done, self._steps = 0, steps

    def run(self) -> None:
        self._producers = self._start("produce", "producer", int(self._parameters["producers"]))
        self._consumers = self._start("consume", "consumer", int(self._parameters["consumers"]))
        everyone = [*self._producers, *self._consumers]
        try:
            self._ceilings()
            rng = np.random.default_rng(self._context.seed)
            for repeat in range(int(self._parameters["repeats"])):
                batches = [int(batch) for batch in rng.permutation(self._parameters["batches"])]
                self._repeat(repeat, batches)
            for process in everyone:
                process.wait(_SLACK_S)
        finally:
            for process in everyone:
                process.kill()

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
                    "size": int(parameters["size"]),
                    "keys": int(parameters["keys"]),
                    "acknowledge_every": self._acknowledge_every(),
                },
            )
            for at in range(number)
        ]

    def _acknowledge_every(self) -> int:
        wanted = int(self._parameters["acknowledge_every"])
        most = self._context.declaration.limits.max_unsettled_batches
        return wanted if most is None else min(wanted, most)

    def _ceilings(self) -> None:
        """One process after the other: a ceiling is what a body does with a core of its own."""
        for batch in self._parameters["batches"]:
            for role, processes in (("publish", self._producers), ("consume", self._consumers)):
                self._context.progress(0.0, f"the ceiling of {role} in batches of {batch}")
                for process in processes:
                    (rate,) = _all([process], Price(int(batch), float(self._parameters["ceiling_s"])), _START_S)
                    self._writer.mark("ceiling", role=role, batch=int(batch), rate=rate)

    def _repeat(self, repeat: int, batches: Sequence[int]) -> None:
        context, parameters = self._context, self._parameters
        self._channel = f"{context.channel_prefix}r{repeat}"
        self._published = self._received = 0
        context.progress(self._done / self._steps, f"repeat {repeat + 1}: warming up")
        context.broker.create_channel(ChannelSpec(self._channel, partitions=int(parameters["partitions"])))
        for at, process in enumerate(self._consumers):
            process.order(OpenConsumer(self._channel, repeat * len(self._consumers) + at))
        _reports(self._consumers, _START_S)
        for batch in batches:
            in_flight = batch * int(parameters["batches_in_flight"])
            for process in self._producers:
                process.order(OpenProducer(self._channel, next(self._producer_numbers), batch, in_flight))
            _reports(self._producers, _START_S)
        self._warm_up(batches)
        for batch in batches:
            for mode in MODES:
                self._step(repeat, batch, mode)
            self._drain()
        self._prove_drained()
        _all([*self._producers, *self._consumers], Close(), _START_S)
        context.broker.delete_channel(self._channel)

    def _step(self, repeat: int, batch: int, mode: str) -> None:
        modes = self._parameters["modes"]
        self._context.progress(self._done / self._steps, f"repeat {repeat + 1}: {mode}, batches of {batch}")
        self._done += 1
        # There is nothing to consume unless it was published before.
        if mode in modes or (mode == "publish" and "consume" in modes):
            self._window(mode, batch, float(self._parameters["window_s"]))

    def _warm_up(self, batches: Sequence[int]) -> None:
        """Real messages through every producer and consumer: connections are made, groups joined, code paths warm."""
        warmup_s = float(self._parameters["warmup_s"])
        for batch in batches:
            self._window("publish", batch, warmup_s / len(batches), warmup=True)
        self._window("consume", batches[0], warmup_s, warmup=True)
        self._drain(_JOIN_S)

    def _window(self, mode: str, batch: int, window_s: float, *, warmup: bool = False) -> None:
        number = next(self._windows)
        start_ns = time.monotonic_ns() + _LEAD_NS
        end_ns = start_ns + int(window_s * 1e9)
        publishing = self._producers if mode in ("publish", "both") else []
        consuming = self._consumers if mode in ("consume", "both") else []
        # One consumer knows when it has everything; several stop when nothing comes.
        left = self._published - self._received if mode == "consume" and len(consuming) == 1 else None
        patience_s = _IDLE_S if mode == "consume" and left is None else window_s
        for process in publishing:
            process.order(Publish(number, batch, start_ns, end_ns))
        for process in consuming:
            process.order(Consume(number, batch, start_ns, end_ns, left, patience_s))
        machine = _Machine(start_ns)
        drained = self._consumed(_reports(consuming, window_s + _SLACK_S))
        if publishing:
            self._published = sum(_reports(publishing, window_s + _SLACK_S))
        machine_cores = machine.busy_cores()
        self._writer.mark(
            "window",
            window=number,
            mode=mode,
            batch=batch,
            warmup=warmup,
            start_ns=start_ns,
            end_ns=end_ns,
            drained=drained and mode == "consume",
            machine_cores=machine_cores,
        )

    def _consumed(self, reports: Sequence[tuple[int, bool]]) -> bool:
        """Count what came; True when all ended before their time, having nothing left to take."""
        self._received += sum(received for received, _ in reports)
        return all(early for _, early in reports)

    def _drain(self, patience_s: float = _SURELY_EMPTY_S) -> None:
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
        self._drain()
        deadline = time.monotonic() + float(self._parameters["drain_s"])
        while time.monotonic() < deadline:
            look_s = _LAST_LOOK_S if self._received >= self._published else _SURELY_EMPTY_S
            came = self._take(deadline, look_s)
            (backlog,) = _all(self._consumers[:1], Backlog(), _START_S)
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
    """How busy all of this host is over a window, the broker and strangers included."""

    def __init__(self, start_ns: int) -> None:
        time.sleep(max(0.0, (start_ns - time.monotonic_ns()) / 1e9))
        self._begin = time.monotonic(), self._busy_s()

    def busy_cores(self) -> float:
        """Cores' worth of CPU in use since the start."""
        wall_s, busy_s = time.monotonic() - self._begin[0], self._busy_s() - self._begin[1]
        return max(0.0, busy_s / wall_s)

    @staticmethod
    def _busy_s() -> float:
        times = psutil.cpu_times()
        # Guests are counted within user and nice already; what a hypervisor stole was not to be had.
        idle_s = times.idle + getattr(times, "iowait", 0.0)
        guests_s = getattr(times, "guest", 0.0) + getattr(times, "guest_nice", 0.0)
        return float(sum(times) - idle_s - guests_s)


def _all(processes: Sequence[LoadProcess], order: Order, timeout_s: float) -> list[Any]:
    for process in processes:
        process.order(order)
    return _reports(processes, timeout_s)


def _reports(processes: Sequence[LoadProcess], timeout_s: float) -> list[Any]:
    return [process.report(timeout_s) for process in processes]
