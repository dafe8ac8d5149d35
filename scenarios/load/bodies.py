"""What the load processes of ``throughput`` do: publish or consume in windows that the scenario orders.

A body opens its own connection and its own part of the history, then works off orders. Closed loop (``Publish``): the
next batch goes out as soon as the last was accepted, so that rates are the most that one client does. Open loop
(``Pace``): messages go out when they are due.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from brokerbench.brokers.protocols import Broker, Counting
from brokerbench.brokers.types import ConsumerSettings
from brokerbench.scenarios.base import Worker
from brokerbench.scenarios.clients.recording import RecordedBatch, RecordingConsumer, RecordingProducer
from brokerbench.scenarios.history import Writer
from brokerbench.scenarios.load import payloads, schedule
from brokerbench.scenarios.load.keys import Keys
from brokerbench.scenarios.load.noop_ceiling import measure_ceiling
from brokerbench.scenarios.load.pacing import batches, send_when_due, sleep_until, woken_in_time
from brokerbench.scenarios.load.process_usage import ProcessUsage
from brokerbench.scenarios.load.schedule import Schedule

_FLUSH_S = 30.0
_WAIT_S = 0.2
"""Longest wait of one receive: how late a window's end may be noticed."""


@dataclass(frozen=True, slots=True)
class OpenProducer:
    """Open a producer for one batch size. ``number``: its number in the history. Reports True.

    ``in_flight``: messages that may wait for their answer. A closed loop has few: otherwise a slow
    broker's queue grows within its client, and what is measured is how fast that fills.
    """

    channel: str
    number: int
    batch: int
    in_flight: int


@dataclass(frozen=True, slots=True)
class OpenConsumer:
    """Open the consumer. ``acknowledge_every``: batches that one acknowledgement covers. Reports True."""

    channel: str
    number: int
    group: str = "brokerbench"
    acknowledge_every: int = 1


@dataclass(frozen=True, slots=True)
class Publish:
    """Publish from ``start_ns`` until ``end_ns`` (monotonic), then flush. Reports the acknowledged sends so far."""

    window: int
    batch: int
    start_ns: int
    end_ns: int


@dataclass(frozen=True, slots=True)
class Pace:
    """Publish when messages are due, in batches of at most ``batch``, then flush. Reports like Publish.

    What is late is sent at once, and nothing is left out: the schedule does not wait for the broker.
    ``clock_ahead_ns``: of the process' monotonic clock, compared with that of the cell.
    """

    window: int
    batch: int
    start_ns: int
    schedule: Schedule
    producer: int
    producers: int
    seed: int
    clock_ahead_ns: int = 0


@dataclass(frozen=True, slots=True)
class Consume:
    """Receive and acknowledge until ``end_ns``, or ``count`` messages, or nothing for ``idle_s``.

    Reports Consumed. ``late_after_ns``: what is received so long after it was due counts as late (None: nothing does).
    ``clock_ahead_ns`` as in Pace.
    """

    window: int
    batch: int
    start_ns: int
    end_ns: int
    count: int | None
    idle_s: float
    late_after_ns: int | None = None
    clock_ahead_ns: int = 0


@dataclass(frozen=True, slots=True)
class Consumed:
    """What came, how much of it late, and whether the consumer ended before its time, having nothing left to take."""

    received: int
    late: int
    early: bool


@dataclass(frozen=True, slots=True)
class Backlog:
    """Report how many messages the broker still holds for the group; None where it does not tell."""


@dataclass(frozen=True, slots=True)
class MeasureCeiling:
    """Measure the body against a broker that does nothing: its own ceiling. Reports messages per CPU second."""

    batch: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Close:
    """Close what was opened. Reports True."""


Order = OpenProducer | OpenConsumer | Publish | Pace | Consume | Backlog | MeasureCeiling | Close


def on_clock(order: Any, ahead_ns: int) -> Any:
    """The order for a host whose monotonic clock is ``ahead_ns`` ahead of that of its times."""
    match order:
        case Publish():
            return replace(order, start_ns=order.start_ns + ahead_ns, end_ns=order.end_ns + ahead_ns)
        case Consume():
            start_ns, end_ns = order.start_ns + ahead_ns, order.end_ns + ahead_ns
            return replace(order, start_ns=start_ns, end_ns=end_ns, clock_ahead_ns=ahead_ns)
        case Pace():
            return replace(order, start_ns=order.start_ns + ahead_ns, clock_ahead_ns=ahead_ns)
        case _:
            return order


def produce(worker: Worker, arguments: Mapping[str, Any]) -> None:
    """Body of a producer. Arguments: history, name, run, seed, payloads, keys, settings (of its producers)."""
    broker = worker.connect()
    with _writer(arguments) as writer:
        publisher = _Publisher(worker, broker, writer, arguments)
        while (order := worker.next_command()) is not None:
            worker.report(publisher.obey(order))
    broker.close()


def consume(worker: Worker, arguments: Mapping[str, Any]) -> None:
    """Body of a consumer. Arguments: those of ``produce``."""
    broker = worker.connect()
    with _writer(arguments) as writer:
        subscriber = _Subscriber(worker, broker, writer, arguments)
        while (order := worker.next_command()) is not None:
            worker.report(subscriber.obey(order))
    broker.close()


def _writer(arguments: Mapping[str, Any]) -> Writer:
    return Writer(Path(arguments["history"]), arguments["name"], arguments["run"])


class _Publisher:
    def __init__(self, worker: Worker, broker: Broker, writer: Writer, arguments: Mapping[str, Any]) -> None:
        self._worker, self._broker, self._writer, self._arguments = worker, broker, writer, arguments
        self._keys = Keys(arguments["seed"], arguments["keys"])
        self._senders: dict[int, RecordingProducer] = {}

    def obey(self, order: Order) -> Any:
        match order:
            case OpenProducer():
                self._senders[order.batch] = _sender(self._broker, self._writer, self._arguments, order)
                return True
            case Publish():
                return self._publish(order)
            case Pace():
                return self._pace(order)
            case MeasureCeiling():
                return measure_ceiling(self._worker, self._arguments, order.batch, order.seconds, sending=True)
            case Close():
                for sender in self._senders.values():
                    sender.close()
                self._senders.clear()
                return True
        raise ValueError(f"a producer cannot {order}")

    def _publish(self, order: Publish) -> int:
        sender, keys, batch, end_ns = self._senders[order.batch], self._keys, order.batch, order.end_ns
        sleep_until(order.start_ns)
        usage = ProcessUsage(self._worker, self._writer, "producer", order.window)
        while time.monotonic_ns() < end_ns:
            sender.send(keys.take(batch))
        usage.end()
        sender.flush(_FLUSH_S)
        return self._acknowledged()

    def _pace(self, order: Pace) -> int:
        sender, keys = self._senders[order.batch], self._keys
        sender.clock_ahead_ns = order.clock_ahead_ns
        sleep_until(order.start_ns)
        usage = ProcessUsage(self._worker, self._writer, "producer", order.window)
        with woken_in_time():
            for times_ns in schedule.due_ns(
                order.schedule, order.start_ns, producer=order.producer, producers=order.producers, seed=order.seed
            ):
                for due_ns in batches(times_ns, order.batch, sender.mean_size):
                    with sender.ahead(keys.take(len(due_ns)), due_ns) as send:
                        send_when_due(due_ns, order.batch, send, sender.poll)
        usage.end()
        sender.flush(_FLUSH_S)
        return self._acknowledged()

    def _acknowledged(self) -> int:
        return sum(each.acknowledged for each in self._senders.values())


class _Subscriber:
    def __init__(self, worker: Worker, broker: Broker, writer: Writer, arguments: Mapping[str, Any]) -> None:
        self._worker, self._broker, self._writer, self._arguments = worker, broker, writer, arguments
        # A load measures by its own clock, and payloads say all else that it wants to know.
        self._settings = ConsumerSettings(name=arguments["name"], details=False)
        self._taker: RecordingConsumer | None = None
        self._channel, self._every = "", 1

    def obey(self, order: Order) -> Any:
        match order:
            case OpenConsumer():
                self._channel, self._every = order.channel, order.acknowledge_every
                self._settings = replace(self._settings, group=order.group)
                self._taker = RecordingConsumer(
                    self._broker, order.channel, self._writer, number=order.number, settings=self._settings
                )
                return True
            case Consume():
                return self._consume(order)
            case Backlog():
                if not isinstance(self._broker, Counting):
                    return None
                return self._broker.backlog(self._channel, self._settings.group)
            case MeasureCeiling():
                return measure_ceiling(self._worker, self._arguments, order.batch, order.seconds, sending=False)
            case Close():
                if self._taker is not None:
                    self._taker.close()
                return True
        raise ValueError(f"a consumer cannot {order}")

    def _consume(self, order: Consume) -> Consumed:
        assert self._taker is not None
        taker, open_batches = self._taker, list[RecordedBatch]()
        ahead = taker.can_pipeline
        take = taker.take_ahead if ahead else taker.take
        received = late = empty_since_ns = 0
        idle_ns = int(order.idle_s * 1e9)
        sleep_until(order.start_ns)
        usage = ProcessUsage(self._worker, self._writer, "consumer", order.window)
        early = True
        while order.count is None or received < order.count:
            now_ns = time.monotonic_ns()
            if now_ns >= order.end_ns:
                early = False
                break
            wait_s = min(_WAIT_S, (order.end_ns - now_ns) / 1e9)
            taken = take(order.batch, wait_s).bare()
            if len(taken):
                received += len(taken)
                late += _late(taken, order)
                empty_since_ns = 0
                if not ahead:
                    open_batches.append(taken)
                if len(open_batches) >= self._every:
                    _acknowledge(taker, open_batches)
            else:
                # A broker may hold messages back until earlier ones of their key are settled.
                _acknowledge(taker, open_batches)
                empty_since_ns = empty_since_ns or now_ns
                if time.monotonic_ns() - empty_since_ns >= idle_ns:
                    break
        _acknowledge(taker, open_batches)
        taker.settle(_FLUSH_S)
        usage.end(received=received)
        return Consumed(received, late, early)


def _late(taken: RecordedBatch, order: Consume) -> int:
    if order.late_after_ns is None:
        return 0
    in_time_ns = taken.received.received_ns - order.clock_ahead_ns - order.late_after_ns
    return int(np.count_nonzero(taken.stamps.due_ns < in_time_ns))


def _acknowledge(taker: RecordingConsumer, batches: list[RecordedBatch]) -> None:
    taker.acknowledge_all(batches)
    batches.clear()


def _sender(broker: Broker, writer: Writer, arguments: Mapping[str, Any], order: OpenProducer) -> RecordingProducer:
    return RecordingProducer(
        broker,
        order.channel,
        writer,
        number=order.number,
        run=arguments["run"],
        seed=arguments["seed"],
        size=arguments["payloads"].size,
        records=payloads.records(arguments["payloads"], seed=arguments["seed"], producer=order.number),
        settings=replace(arguments["settings"], max_in_flight=order.in_flight),
    )
