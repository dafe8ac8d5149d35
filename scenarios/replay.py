"""Replay: after everything was consumed and acknowledged, can it be read again?

One channel. A group consumes and acknowledges everything until a proven drain. Then, several attempts each:

* ``from_beginning``, ``from_position`` (a place of each partition), ``from_time`` (the broker's own time of a message),
* ``independent_reader``: readers start from the beginning while more is sent to the first group.

Where a profile cannot read again, another consumer under another group's name looks for the acknowledged messages.
Modes without any operation are recorded as refused. At the end two groups consume the same messages side by side. Each
attempt leaves an ``attempt`` mark; the messages that it read are in the deliveries.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from brokerbench.brokers.declarations import Limits
from brokerbench.brokers.errors import Unsupported
from brokerbench.brokers.protocols import Replayable
from brokerbench.brokers.types import (
    ChannelSpec,
    ConsumerSettings,
    FromBeginning,
    FromPosition,
    FromTime,
    Position,
    ReplayStart,
)
from brokerbench.scenarios.analysis import delivery
from brokerbench.scenarios.analysis import replay as checker
from brokerbench.scenarios.base import Context, Parameters, Scenario, small_requests_s
from brokerbench.scenarios.clients import channels, whole_channel
from brokerbench.scenarios.clients.consumer_group import ConsumerGroup, Progress
from brokerbench.scenarios.clients.recording import (
    RecordingConsumer,
    RecordingProducer,
    RecordingReader,
    ReplayableBroker,
    open_producer,
    take_until,
)
from brokerbench.scenarios.history import Column, Writer
from brokerbench.scenarios.load.payloads import check_size, check_size_fits

DEFAULTS: Parameters = {
    "messages": 3000,
    "beside": 1000,
    "keys": 50,
    "partitions": 3,
    "size": 256,
    "batch": 100,
    "attempts": 3,
    "gap_s": 0.06,
    "look_s": 2.0,
    "quiet_s": 10.0,
    "lease_s": 15.0,
    "patience_s": 30.0,
}
PROPERTIES = (
    "replay.from_beginning",
    "replay.from_position",
    "replay.from_time",
    "replay.independent_reader",
    "replay.complete",
    "replay.intact",
    "replay.order",
    "replay.time_offset",
    "delivery.no_loss",
    "delivery.no_phantom",
    "delivery.no_duplicate",
    "delivery.intact",
    "delivery.progress",
    *delivery.CONSISTENCY,
)

_SEND_CHUNK = 100
_WAIT_S = 0.2
_NOTHING_CONSUMED = "not possible: the group had consumed nothing that could be read again"
_NO_READER = "the profile has no operation that reads again what was acknowledged"

Places = dict[int, int]
Last = Callable[[], Places | None]
"""The last place of each partition to be read, or None while that is not known yet."""


def run(context: Context) -> None:
    with context.writer("main") as writer:
        _Run(context, writer).run()


def expected_s(parameters: Parameters, limits: Limits | None) -> float:
    looks_s = int(parameters["attempts"]) * float(parameters["look_s"])
    return (
        20.0
        + float(parameters["lease_s"])
        + looks_s
        + small_requests_s(int(parameters["messages"]) + int(parameters["beside"]), limits)
    )


SCENARIO = Scenario(
    name="replay",
    summary="reading again what was acknowledged: from the beginning, a position, a time, and beside a group",
    defaults=DEFAULTS,
    properties=PROPERTIES,
    expected_s=expected_s,
    check=check_size,
    fits=check_size_fits,
    run=run,
    examine=checker.examine,
)


class _Run:
    def __init__(self, context: Context, writer: Writer) -> None:
        self._context, self._writer = context, writer
        self._channel = f"{context.channel_prefix}log"
        parameters = context.parameters
        self._messages, self._beside = int(parameters["messages"]), int(parameters["beside"])
        self._attempts, self._batch = int(parameters["attempts"]), int(parameters["batch"])
        self._patience_s = float(parameters["patience_s"])
        self._progress: dict[str, Progress] = {}
        self._keys = np.random.default_rng(context.seed).integers(
            0, int(parameters["keys"]), self._messages + self._beside
        )

    def run(self) -> None:
        context, broker, parameters = self._context, self._context.broker, self._context.parameters
        partitions, lease_s = int(parameters["partitions"]), float(parameters["lease_s"])
        channels.create(broker, ChannelSpec(self._channel, partitions, lease_s=lease_s), self._writer)
        context.progress(0.0, "sending, consuming and acknowledging everything")
        with self._group("first", 0) as group:
            self._send_first()
            group.drain(broker, self._writer, self._messages, self._patience_s)
            if isinstance(broker, Replayable):
                self._replays(broker, group.progress.columns())
                context.progress(0.7, "independent readers beside the group")
                self._independent(group)
            context.progress(0.8, "looking for longer than a lease")
            group.outlast_leases()
        if not isinstance(broker, Replayable):
            self._looks()
            for mode in ("from_position", "from_time"):
                self._writer.mark("attempt", mode=mode, reader=-1, outcome="refused", reason=_NO_READER)
            self._two_groups(self._attempts, _NO_READER)
        elif context.declaration.limits.has_groups:
            self._two_groups(1, "another group is an independent reader, too")

    def _group(self, group: str, first_reader: int) -> ConsumerGroup:
        """A group that is opened again goes on where it was."""
        progress = self._progress.setdefault(group, Progress())
        return ConsumerGroup(
            self._context, self._channel, group, first_reader=first_reader, batch=self._batch, progress=progress
        )

    def _producer(self, number: int) -> RecordingProducer:
        return open_producer(self._context, self._channel, self._writer, number)

    def _send_first(self) -> None:
        """In two halves with a gap, so that a time between them is sharper than the broker's clock."""
        producer, half = self._producer(0), self._messages // 2
        for keys in (self._keys[:half], self._keys[half : self._messages]):
            for at in range(0, len(keys), _SEND_CHUNK):
                producer.send(keys[at : at + _SEND_CHUNK])
            producer.flush()
            time.sleep(float(self._context.parameters["gap_s"]))
        producer.close()

    # -- profiles that can read again --------------------------------------------------------------

    def _replays(self, broker: ReplayableBroker, consumed: Mapping[str, Column]) -> None:
        last = _last_places(consumed["partition"], consumed["place"])
        starts: list[tuple[str, ReplayStart]] = []
        if not last:
            for number, mode in enumerate(("from_beginning", "from_position", "from_time") * self._attempts):
                about = {"mode": mode, "reader": 100 + number, "began_ns": time.monotonic_ns(), "last": {}}
                self._writer.mark("attempt", outcome="ended early", reason=_NOTHING_CONSUMED, **about)
            return
        for number in range(self._attempts):
            share = (number + 1) / (self._attempts + 1)
            position, at = FromPosition(Position(_places_at(consumed, share))), FromTime(_time_at(consumed, share))
            starts += [("from_beginning", FromBeginning()), ("from_position", position), ("from_time", at)]
        for number, (mode, start) in enumerate(starts):
            self._context.progress(0.3 + 0.4 * number / len(starts), f"reading again {mode.replace('_', ' ')}")
            self._attempt(broker, self._writer, mode, start, 100 + number, lambda: last)

    def _attempt(
        self, broker: ReplayableBroker, writer: Writer, mode: str, start: ReplayStart, number: int, last: Last
    ) -> None:
        began_ns = time.monotonic_ns()
        about: dict[str, Any] = {"mode": mode, "reader": number, "began_ns": began_ns, **_described(start)}
        try:
            reader = RecordingReader(broker, self._channel, start, writer, number=number, mode=mode)
        except Unsupported as refusal:
            writer.mark("attempt", outcome="refused", reason=refusal.reason, **about)
            return
        quiet_s = float(self._context.parameters["quiet_s"])
        outcome = _read_to(reader, last, self._batch, self._patience_s, quiet_s)
        reader.close()
        limits = self._context.declaration.limits
        writer.mark(
            "attempt",
            outcome=outcome,
            last=whole_channel.as_text(last() or {}),
            **(self._kept(broker) if outcome == "ended early" else {}),
            clock=str(limits.broker_clock),
            resolution_ns=limits.broker_clock_resolution_ns,
            **about,
        )

    def _kept(self, broker: Replayable) -> dict[str, Any]:
        """Places that the broker says it keeps, by partition: the first, and the one after the last."""
        return {
            "kept_from": whole_channel.beginnings(broker, self._channel),
            "kept_to": whole_channel.ends(broker, self._channel),
        }

    def _independent(self, group: ConsumerGroup) -> None:
        """Readers from the beginning, while the group consumes what is sent meanwhile."""
        ends: list[Places] = []
        with ThreadPoolExecutor(self._attempts) as beside:
            readers = [beside.submit(self._read_beside, 200 + number, ends) for number in range(self._attempts)]
            try:
                producer = self._producer(1)
                for at in range(self._messages, self._messages + self._beside, _SEND_CHUNK // 4):
                    producer.send(self._keys[at : at + _SEND_CHUNK // 4])
                    time.sleep(0.005)
                producer.flush()
                producer.close()
                group.drain(self._context.broker, self._writer, self._messages + self._beside, self._patience_s)
            finally:
                consumed = group.progress.columns()
                ends.append(_last_places(consumed["partition"], consumed["place"]))
            for reader in readers:
                reader.result()

    def _read_beside(self, reader: int, ends: list[Places]) -> None:
        with self._context.thread(f"reader-{reader}") as (broker, writer):
            assert isinstance(broker, Replayable)
            self._attempt(
                broker, writer, "independent_reader", FromBeginning(), reader, lambda: ends[0] if ends else None
            )

    # -- profiles that cannot ----------------------------------------------------------------------

    def _looks(self) -> None:
        look_s = float(self._context.parameters["look_s"])
        for number in range(self._attempts):
            self._context.progress(0.8 + 0.1 * number / self._attempts, "looking for acknowledged messages")
            began_ns = time.monotonic_ns()
            group = f"look-{number}"
            settings = ConsumerSettings(group=group, name=group)
            consumer = RecordingConsumer(
                self._context.broker, self._channel, self._writer, number=100 + number, settings=settings
            )
            for batch in take_until(consumer.take, None, look_s, most=self._batch, wait_s=look_s):
                consumer.acknowledge(batch)
            consumer.close()
            self._writer.mark(
                "attempt",
                mode="from_beginning",
                reader=100 + number,
                began_ns=began_ns,
                outcome="looked",
                reason=f"{_NO_READER}: a consumer under another group's name looked for them",
            )

    # -- every profile -----------------------------------------------------------------------------

    def _two_groups(self, rounds: int, why: str) -> None:
        """Does each of two groups get every message? Each round is an attempt."""
        share = self._beside // rounds
        for number in range(rounds):
            self._context.progress(0.9 + 0.1 * number / rounds, "two groups beside each other")
            producer, began_ns = self._producer(10 + number), time.monotonic_ns()
            readers = (300 + 2 * number, 301 + 2 * number)
            with self._group("first", readers[0]) as first, self._group("second", readers[1]) as second:
                earlier = {group: group.progress.acknowledged() for group in (first, second)}
                begin = self._messages + number * share
                producer.send(self._keys[begin : begin + share])
                producer.flush()
                producer.close()
                broker = self._context.broker
                drained = [
                    group.drain(broker, self._writer, before + share, self._patience_s)
                    for group, before in earlier.items()
                ]
            self._writer.mark(
                "attempt",
                mode="independent_reader",
                reader=readers[1],
                producer=10 + number,
                readers=readers,
                began_ns=began_ns,
                outcome="looked" if all(drained) else "ended early",
                reason=f"{why}: two groups consumed the same messages",
            )


def _read_to(reader: RecordingReader, last: Last, most: int, patience_s: float, quiet_s: float) -> str:
    """Read until the last places are reached (``read``), or nothing came for ``quiet_s`` (``ended early``).

    Silence is counted in reads: a process that stands still does not ask.
    """
    highest: Places = {}
    give_up = time.monotonic() + patience_s
    quiet_since, empty_reads = time.monotonic(), 0
    while (now := time.monotonic()) < give_up:
        batch = reader.read(most, _WAIT_S)
        empty_reads += 1
        for partition, place in _last_places(batch.received.partitions, batch.received.places).items():
            highest[partition] = max(highest.get(partition, -1), place)
        wanted = last()
        if len(batch) or wanted is None:
            quiet_since, empty_reads = now, 0
        if wanted is not None:
            if all(highest.get(partition, -1) >= place for partition, place in wanted.items()):
                return "read"
            if now - quiet_since > quiet_s and empty_reads > quiet_s / _WAIT_S:
                break
    return "ended early"


def _last_places(partition: Column, place: Column) -> Places:
    return {number: int(place[partition == number].max()) for number in np.unique(partition).tolist()}


def _places_at(consumed: Mapping[str, Column], share: float) -> Places:
    """The place of the message at this share of each partition, in order of first delivery."""
    partition, place = consumed["partition"], consumed["place"]
    ours = {number: place[partition == number] for number in np.unique(partition).tolist()}
    return {number: int(places[int(len(places) * share)]) for number, places in ours.items()}


def _time_at(consumed: Mapping[str, Column], share: float) -> int:
    """The broker's time of the message at this share of all, in order of sending."""
    rows = np.argsort(consumed["seq"], kind="stable")
    return int(consumed["broker_epoch_ns"][rows[int(len(rows) * share)]])


def _described(start: ReplayStart) -> dict[str, Any]:
    match start:
        case FromPosition(position):
            return {"places": whole_channel.as_text(position.places)}
        case FromTime(epoch_ns):
            return {"asked_epoch_ns": epoch_ns}
        case _:
            return {}
