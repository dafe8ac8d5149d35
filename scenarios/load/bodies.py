"""Bodies of load processes: publish or consume in windows that a scenario commands.

A body opens its own connection and its own part of the history, then executes commands one by one. Closed loop
(``Publish``): the next batch goes out as soon as the last was accepted, so a rate is the maximum of one client. Open
loop (``Pace``): messages go out when they are due, after a precise sleep.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from brokerbench.brokers.protocols import Broker, Counting
from brokerbench.brokers.types import ConsumerSettings
from brokerbench.scenarios.base import Worker
from brokerbench.scenarios.clients.recording import (
    RecordedBatch,
    RecordingConsumer,
    RecordingProducer,
    unwatched,
)
from brokerbench.scenarios.history import Column, Writer
from brokerbench.scenarios.load import schedule, workload
from brokerbench.scenarios.load.load_commands import (
    Backlog,
    Close,
    Command,
    Consume,
    Consumed,
    Halt,
    MeasureCeiling,
    OpenConsumer,
    OpenProducer,
    Pace,
    Publish,
    Published,
)
from brokerbench.scenarios.load.noop_ceiling import measure_ceiling
from brokerbench.scenarios.load.payloads import Keys
from brokerbench.scenarios.load.self_watch import LoopWatch, pulse
from brokerbench.scenarios.load.usage import ProcessUsage
from brokerbench.scenarios.metrics.own_time import OwnTime

_POLL_NS = 500_000
"""Interval of polling for answers while waiting for the next message: a poll is when an answer is timed."""
_AHEAD, _AHEAD_BYTES = 100, 256 << 10
"""Most messages, and bytes, stamped at once while on schedule: stamping singly costs 10x as much; larger batches delay
their first messages."""
_LEAST_SLACK, _USUAL_SLACK = "1", "0"
"""In nanoseconds, as Linux takes them; 0 restores the value that the thread began with."""


def batches(due_ns: Column, most: int, size: int) -> Iterator[Column]:
    """Cut due times into batches, each of which is stamped at once with messages of ``size`` bytes.

    Behind schedule, a batch holds all messages that are due, at most ``most``, so that nothing cuts it up further.
    """
    on_time = max(1, min(_AHEAD, _AHEAD_BYTES // size))
    at, count = 0, len(due_ns)
    while at < count:
        late = int(due_ns.searchsorted(time.monotonic_ns(), "right")) - at
        part = due_ns[at : at + (min(late, most) if late >= min(on_time, most) else on_time)]
        at += len(part)
        yield part


def send_when_due(
    due_ns: Column,
    most: int,
    send: Callable[[int], None],
    poll: Callable[[], None],
    over: Callable[[], bool] = lambda: False,
    watch: LoopWatch | None = None,
) -> int:
    """Send all messages that are due, again and again until the last: at these times (ascending, monotonic).

    Behind schedule, at most ``most`` messages go out at once. Ahead of it, poll for answers, then sleep until the next
    message or the next poll. Returns how many were sent: all, unless it is ``over``.
    """
    at, count = 0, len(due_ns)
    while at < count and not over():
        now_ns = time.monotonic_ns()
        due = min(int(due_ns.searchsorted(now_ns, "right")), at + most) - at
        if due:
            if watch is not None:
                watch.sending(due_ns[at : at + due], now_ns)
            send(due)
            at += due
        else:
            if watch is not None:
                watch.on_time()
            poll()
            sleep_until(min(int(due_ns[at]), now_ns + _POLL_NS))
    return at


@contextmanager
def precise_sleep() -> Iterator[None]:
    """End this thread's sleeps on time. By default Linux extends each by up to 50 us, so as to wake less often."""
    _slack(_LEAST_SLACK)
    try:
        yield
    finally:
        _slack(_USUAL_SLACK)  # threads inherit it, and a client library's must have the default


def _slack(nanoseconds: str) -> None:
    with suppress(OSError):  # another system, or a kernel without it
        Path(f"/proc/{threading.get_native_id()}/timerslack_ns").write_text(nanoseconds, encoding="ascii")


def sleep_until(monotonic_ns: int) -> None:
    """Return at once for a time in the past."""
    time.sleep(max(0.0, (monotonic_ns - time.monotonic_ns()) / 1e9))


Client = RecordingProducer | RecordingConsumer

_FLUSH_S = 30.0
_SLICE_NS = 10_000_000
_STRETCHES, _LEAST_MIDDLES = 5, 4
_WAIT_S = 0.2
"""Longest wait of one receive, in seconds: the latest that a body notices the end of a window."""


def produce(worker: Worker, arguments: Mapping[str, Any]) -> None:
    """Body of a producer. ``arguments``: see ``workload.arguments``."""
    _execute_all(worker, arguments, _Publisher)


def consume(worker: Worker, arguments: Mapping[str, Any]) -> None:
    """Body of a consumer. ``arguments``: see ``workload.arguments``."""
    _execute_all(worker, arguments, _Subscriber)


def _execute_all(worker: Worker, arguments: Mapping[str, Any], client: type[_Publisher] | type[_Subscriber]) -> None:
    broker = worker.connect()
    with Writer(Path(arguments["history"]), arguments["name"], arguments["run"]) as writer:
        execute = client(worker, broker, writer, arguments).execute
        while (command := worker.next_command()) is not None:
            worker.report(execute(command))
    broker.close()


class _Publisher:
    def __init__(self, worker: Worker, broker: Broker, writer: Writer, arguments: Mapping[str, Any]) -> None:
        pulse()
        self._worker, self._broker, self._writer, self._arguments = worker, broker, writer, arguments
        self._keys = Keys(arguments["seed"], arguments["keys"])
        self._producers: dict[int, RecordingProducer] = {}

    def execute(self, command: Command) -> Any:
        match command:
            case OpenProducer():
                self._producers[command.batch] = self._opened(command)
                return True
            case Publish():
                return self._publish(command)
            case Pace():
                return self._pace(command)
            case Halt():  # noticed by the pace, as soon as it was told
                return True
            case MeasureCeiling():
                return measure_ceiling(self._worker, self._arguments, command.batch, command.seconds, sending=True)
            case Close():
                for producer in self._producers.values():
                    producer.close()
                self._producers.clear()
                return True
        raise ValueError(f"a producer cannot {command}")

    def _publish(self, command: Publish) -> Published:
        producer, keys, batch, end_ns = self._producers[command.batch], self._keys, command.batch, command.end_ns
        sleep_until(command.start_ns)
        usage = ProcessUsage(self._worker, self._writer, "producer", command.window)
        watch = _watched(producer)
        while time.monotonic_ns() < end_ns:
            producer.send(keys.take(batch))
        own = _end(usage, watch, producer, self._arguments)
        producer.flush(_FLUSH_S)
        return Published(self._acknowledged(), 0, own)

    def _pace(self, command: Pace) -> Published:
        producer, end_ns = self._producers[command.batch], command.start_ns + int(command.schedule.duration_s * 1e9)
        producer.clock_ahead_ns = command.clock_ahead_ns
        until_ns = end_ns + int(command.overrun_s * 1e9)
        sleep_until(command.start_ns)
        usage = ProcessUsage(self._worker, self._writer, "producer", command.window)
        watch = _watched(producer, command.late_after_ns)

        def over() -> bool:
            return self._worker.told() or time.monotonic_ns() >= until_ns

        stretches = schedule.due_ns(
            command.schedule,
            command.start_ns,
            producer=command.producer,
            producers=command.producers,
            seed=command.seed,
        )
        unsent = 0
        with precise_sleep():
            for times_ns in stretches:
                sent = self._send(producer, times_ns, command.batch, over, watch)
                if sent < len(times_ns):
                    unsent = self._give_up(command, chain([times_ns[sent:]], stretches), watch)
        own = _end(usage, watch, producer, self._arguments)
        producer.flush(_FLUSH_S)
        return Published(self._acknowledged(), unsent, own)

    def _send(
        self, producer: RecordingProducer, times_ns: Column, most: int, over: Callable[[], bool], watch: LoopWatch
    ) -> int:
        """How many of the messages that are due at these times were sent: all, unless it is ``over``."""
        sent = 0
        for due_ns in batches(times_ns, most, producer.mean_size):
            with producer.stamped_ahead(self._keys.take(len(due_ns)), due_ns) as send:
                ours = send_when_due(due_ns, most, send, producer.poll, over, watch)
            sent += ours
            if ours < len(due_ns):
                break
        return sent

    def _give_up(self, command: Pace, left: Iterable[Column], watch: LoopWatch) -> int:
        """Record when the messages that will never be sent were due: how many in each slice of the window."""
        now_ns, duration_ns = time.monotonic_ns(), int(command.schedule.duration_s * 1e9)
        counts = np.zeros(duration_ns // _SLICE_NS + 2, np.int64)
        for due_ns in left:
            counts += np.bincount((due_ns - command.start_ns) // _SLICE_NS, minlength=len(counts))
            if len(past_ns := due_ns[due_ns < now_ns]):
                watch.sending(past_ns, now_ns)
        (slices,) = np.nonzero(counts)
        self._writer.mark(
            "unsent",
            window=command.window,
            until_ns=max(duration_ns, now_ns - command.start_ns),
            slice_ns=_SLICE_NS,
            slices=slices.tolist(),
            counts=counts[slices].tolist(),
        )
        return int(counts.sum())

    def _opened(self, command: OpenProducer) -> RecordingProducer:
        settings = replace(self._arguments["settings"], max_in_flight=command.in_flight)
        return workload.producer(self._broker, command.channel, self._writer, command.number, self._arguments, settings)

    def _acknowledged(self) -> int:
        return sum(producer.acknowledged for producer in self._producers.values())


class _Subscriber:
    def __init__(self, worker: Worker, broker: Broker, writer: Writer, arguments: Mapping[str, Any]) -> None:
        pulse()
        self._worker, self._broker, self._writer, self._arguments = worker, broker, writer, arguments
        # A load measures by its own clock, and the stamps in its payloads hold everything else that it needs.
        self._settings = ConsumerSettings(name=arguments["name"], details=False)
        self._consumer: RecordingConsumer | None = None
        self._channel, self._every = "", 1

    def execute(self, command: Command) -> Any:
        match command:
            case OpenConsumer():
                self._channel, self._every = command.channel, command.acknowledge_every
                self._settings = replace(self._settings, group=command.group)
                self._consumer = RecordingConsumer(
                    self._broker, command.channel, self._writer, number=command.number, settings=self._settings
                )
                return True
            case Consume():
                return self._consume(command)
            case Backlog():
                if not isinstance(self._broker, Counting):
                    return None
                return self._broker.backlog(self._channel, self._settings.group)
            case MeasureCeiling():
                return measure_ceiling(self._worker, self._arguments, command.batch, command.seconds, sending=False)
            case Close():
                if self._consumer is not None:
                    self._consumer.close()
                return True
        raise ValueError(f"a consumer cannot {command}")

    def _consume(self, command: Consume) -> Consumed:
        assert self._consumer is not None
        consumer, open_batches = self._consumer, list[RecordedBatch]()
        ahead = consumer.can_pipeline
        take = consumer.take_ahead if ahead else consumer.take
        received = late = empty_since_ns = 0
        idle_ns, middle_ns = int(command.idle_s * 1e9), list[int]()
        sleep_until(command.start_ns)
        usage = ProcessUsage(self._worker, self._writer, "consumer", command.window)
        watch = _watched(consumer)
        early = True
        while command.count is None or received < command.count:
            now_ns = time.monotonic_ns()
            if now_ns >= command.end_ns:
                early = False
                break
            wait_s = min(_WAIT_S, (command.end_ns - now_ns) / 1e9)
            batch = take(command.batch, wait_s).bare()
            if len(batch):
                received += len(batch)
                late += _late(batch, command)
                middle_ns.append(batch.received.received_ns - int(batch.stamps.due_ns[len(batch) // 2]))
                empty_since_ns = 0
                if not ahead:
                    open_batches.append(batch)
                if len(open_batches) >= self._every:
                    _acknowledge(consumer, open_batches)
            else:
                # A broker may hold messages back until earlier ones of their key are settled.
                _acknowledge(consumer, open_batches)
                empty_since_ns = empty_since_ns or now_ns
                if time.monotonic_ns() - empty_since_ns >= idle_ns:
                    break
        _acknowledge(consumer, open_batches)
        consumer.settle(_FLUSH_S)
        own = _end(usage, watch, consumer, self._arguments, received=received)
        return Consumed(received, late, early, own, _medians_ms(middle_ns, command.clock_ahead_ns))


def _watched(client: Client, late_after_ns: int = 0) -> LoopWatch:
    """A watch of this loop, which the client tells of its calls until ``_end``."""
    watch = LoopWatch(late_after_ns)
    client.on_call = watch.called
    return watch


def _end(
    usage: ProcessUsage, watch: LoopWatch, client: Client, arguments: Mapping[str, Any], **attributes: int
) -> OwnTime:
    """End the window for usage and watch, in one mark."""
    client.on_call = unwatched
    own, waited_ns = watch.end(str(arguments["name"]))
    lost = {"stalls_ms": list(own.stalls_ms), "gaps_ms": list(own.gaps_ms), "due": own.due, "late": own.late}
    usage.end(loop_waited_ns=waited_ns, **lost, **attributes)
    return own


def _medians_ms(latencies_ns: Sequence[int], ahead_ns: int) -> tuple[float, ...]:
    """Of a few equal stretches; none of fewer latencies than would say something."""
    if len(latencies_ns) < _LEAST_MIDDLES * _STRETCHES:
        return ()
    parts = np.array_split(np.array(latencies_ns, np.int64) - ahead_ns, _STRETCHES)
    return tuple(float(np.median(part)) / 1e6 for part in parts)


def _late(batch: RecordedBatch, command: Consume) -> int:
    if command.late_after_ns is None:
        return 0
    in_time_ns = batch.received.received_ns - command.clock_ahead_ns - command.late_after_ns
    return int(np.count_nonzero(batch.stamps.due_ns < in_time_ns))


def _acknowledge(consumer: RecordingConsumer, batches: list[RecordedBatch]) -> None:
    consumer.acknowledge_all(batches)
    batches.clear()
