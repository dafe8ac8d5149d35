"""Retention: how long a message is surely there, and how long after its limit it is really gone.

Six channels, each with a role in the marks of the history:

* ``unread``: messages are sent at a steady pace and not read; the beginning of the channel (or, without positions,
  the count of kept messages) is watched until all are gone.
* ``large``: the same with the broker's default segments, to show the cost of segment granularity.
* ``read``: messages are sent at once, and read whole at shares of the limit and when they should be gone: is what the
  broker says of them true, and are they unaltered? Only where the profile has readers.
* ``held``: delivered before the limit, never acknowledged, released after it: does any message come back?
* ``acked``: delivered and acknowledged, then looked for at once: is it still kept?
* ``size``: three times the size limit is sent; the kept messages are counted, and read where the profile has readers.

Where the adapter applies retention (``Retaining``), the experiment calls it at every look, as a service would on a
timer.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

from brokerbench.brokers.declarations import Limits
from brokerbench.brokers.errors import Unsupported
from brokerbench.brokers.protocols import Broker, Releasable, Replayable, Retaining
from brokerbench.brokers.types import ChannelSpec, ConsumerSettings, FromBeginning, Retention
from brokerbench.scenarios.analysis import retention as checker
from brokerbench.scenarios.base import Context, Parameters, Scenario
from brokerbench.scenarios.clients.recording import (
    RecordingConsumer,
    RecordingProducer,
    RecordingReader,
    open_producer,
    take_until,
)
from brokerbench.scenarios.clients.retention_watch import RetentionWatch
from brokerbench.scenarios.clients.whole_channel import WholeChannel, ends, send_fresh
from brokerbench.scenarios.history import Writer
from brokerbench.scenarios.load.payloads import check_size, check_size_fits

DEFAULTS: Parameters = {
    "age_s": 6.0,
    "sending_s": 6.0,
    "pace_s": 0.1,
    "burst": 10,
    "size": 1024,
    "held": 200,
    "limit_messages": 2000,
    "limit_bytes": 2 * 1024 * 1024,
    "look_every_s": 0.05,
    "give_back_after_s": 6.0,
    "grace_s": 30.0,
}
PROPERTIES = (
    "retention.by_age",
    "retention.by_size",
    "retention.not_early",
    "retention.overshoot",
    "retention.overshoot_large_segment",
    "retention.size_excess",
    "retention.unread_survives",
    "retention.unacknowledged_survives",
    "retention.acknowledged_kept",
    "delivery.intact",
)

_SEGMENT_MS = 1000
_SEGMENT_BYTES = 1 << 20
_JOIN_S = 20.0
"""Longest wait of a consumer for its messages, joining its group included, in seconds."""
_READ_S = 10.0
"""Longest wait of a reader for its messages, in seconds."""
_EARLY_LOOK_S = 2.0
_LONG_LIMIT_S = 30.0
_SWEEP_S = 2.0
_LOOK_S = 3.0
_PROOF_S = 20.0
"""``_LOOK_S``: shortest second look, in seconds. ``_PROOF_S``: longest wait for the message that proves it."""
_SETTLED_AFTER_S = 3.0
"""A channel whose size has not changed for this long has been cut to its limit."""
_NUMBERS: Mapping[str, int] = {"unread": 0, "large": 1, "held": 2, "acked": 3, "size": 4, "read": 5}
"""Producer and reader numbers of each role; the second look of a role has number + 10."""
_PROBE = 20
"""Added to a role's number: the producer of fresh messages, which prove that a look sees what there is."""
_WHOLE_READERS: Mapping[str, int] = {"size": 30, "read": 40}
"""The first number of the readers that read a role's channel whole."""
_READ_AT = (0.5, checker.LAST_READ, 0.85, 0.95)
"""Shares of the limit at which a channel is read. Several lie in the last part: one may be late on a busy machine."""


def run(context: Context) -> None:
    """Four parts side by side, as they mostly wait; each has a connection and a part of the history of its own."""
    parts: tuple[Callable[[_Run], None], ...] = (_Run.read, _Run.held, _Run.acked_and_size)
    with ThreadPoolExecutor(len(parts)) as beside:
        waiting = [beside.submit(_apart, context, part) for part in parts]
        with context.writer("watched") as writer:
            _Run(context, context.broker, writer).watched()
        for part in waiting:
            part.result()


def expected_s(parameters: Parameters, limits: Limits | None) -> float:
    waits_s = float(parameters["sending_s"]) + float(parameters["give_back_after_s"])
    return 10.0 + waits_s + _age_s(parameters, limits)


def _age_s(parameters: Parameters, limits: Limits | None) -> float:
    """The age limit, in seconds: as asked for, or the shortest that the broker allows."""
    least_s = limits.retention_min_age_s if limits else None
    return max(float(parameters["age_s"]), least_s or 0.0)


SCENARIO = Scenario(
    name="retention",
    summary="how long messages are surely kept, and when they are really gone, by age and by size",
    defaults=DEFAULTS,
    properties=PROPERTIES,
    expected_s=expected_s,
    check=check_size,
    fits=check_size_fits,
    run=run,
    examine=checker.examine,
)


def _apart(context: Context, part: Callable[[_Run], None]) -> None:
    with context.thread(part.__name__) as (broker, writer):
        part(_Run(context, broker, writer))


class _Run:
    """One thread of this experiment: its connection and its part of the history."""

    def __init__(self, context: Context, broker: Broker, writer: Writer) -> None:
        self._context, self._broker, self._writer = context, broker, writer
        limits = context.declaration.limits
        self._age_s = _age_s(context.parameters, limits)
        self._grace_s = float(context.parameters["grace_s"])
        longest = limits.lease_max_s or 300.0
        self._lease_s = min(longest, self._age_s + 60.0)
        # Longer than the time of grace it does not wait: then its findings say that it did not.
        self._lag_s = min(limits.retention_lag_s or 0.0, self._grace_s)

    def acked_and_size(self) -> None:
        self._acked()
        self._size()

    def watched(self) -> None:
        if self._watch("unread", segmented=True):
            self._watch("large", segmented=False)
        else:
            reason = "the broker removes single messages: it has no segments"
            self._writer.mark("not_testable", role="large", reason=reason)

    # -- channels ---------------------------------------------------------------------------------

    def _create(self, role: str, retention: Retention) -> tuple[str, bool]:
        """Create a channel, without segment settings where the broker has no segments. Returns (name, has segments).

        Raises Unsupported when the broker has no such retention at all.
        """
        spec = ChannelSpec(
            f"{self._context.channel_prefix}{role}", partitions=1, lease_s=self._lease_s, retention=retention
        )
        segmented = retention.segment_ms is not None or retention.segment_bytes is not None
        try:
            self._broker.create_channel(spec)
        except Unsupported:
            if not segmented:
                raise
            plain = replace(retention, segment_ms=None, segment_bytes=None)
            segmented = False
            self._broker.create_channel(replace(spec, retention=plain))
        self._writer.mark(
            "limit",
            role=role,
            age_s=retention.max_age_s,
            bytes=retention.max_bytes,
            messages=retention.max_messages,
            segmented=segmented,
            lag_s=self._context.declaration.limits.retention_lag_s,
        )
        return spec.name, segmented

    def _producer(self, role: str, channel: str, offset: int = 0, as_role: str = "") -> RecordingProducer:
        number = _NUMBERS[role] + offset
        return open_producer(self._context, channel, self._writer, number, self._broker, role=as_role or role)

    def _consumer(self, role: str, channel: str, group: str, number: int, stage: str) -> RecordingConsumer:
        settings = ConsumerSettings(group=group, name=f"{role}-{stage}")
        return RecordingConsumer(
            self._broker, channel, self._writer, number=number, settings=settings, role=role, stage=stage
        )

    def _whole(self, role: str, channel: str, **attributes: object) -> WholeChannel:
        probe = self._producer(role, channel, offset=_PROBE, as_role=f"{role}-probe")
        return WholeChannel(
            self._broker, channel, self._writer, probe, _NUMBERS[role] + _PROBE, role=role, **attributes
        )

    # -- roles ------------------------------------------------------------------------------------

    def read(self) -> None:
        """Send at once, then read everything at shares of the limit, and when the broker says that all is gone.

        A broker that never says so is read when it may be late no longer.
        """
        if not isinstance(self._broker, Replayable):
            self._writer.mark("not_testable", role="read", reason="the profile has no readers")
            return
        channel, _ = self._create(
            "read", Retention(max_age_s=self._age_s, segment_ms=_SEGMENT_MS, segment_bytes=_SEGMENT_BYTES)
        )
        producer = self._producer("read", channel)
        begin = time.monotonic()
        producer.send(range(self._bursts() * int(self._context.parameters["burst"])))
        producer.flush()
        producer.close()
        sent_up_to = ends(self._broker, channel)
        declaration, allowed_s = self._context.declaration, self._grace_s
        if (declaration.limits.retention_lag_s or 0.0) <= self._grace_s:
            allowed_s = max(declaration.of("retention.overshoot").high or 0.0, self._grace_s)
        whole = self._whole("read", channel, limit_s=self._age_s, allowed_s=allowed_s)
        number = _WHOLE_READERS["read"]
        for at, share in enumerate(_READ_AT):
            _sleep_until(begin + share * self._age_s)
            whole.read(number + at, _READ_S, stage="before")
        # Once sent, these are as old as the youngest of them.
        deadline = time.monotonic() + self._age_s + allowed_s
        watch = self._retention_watch("read", channel)
        while time.monotonic() < deadline and not watch.is_gone(sent_up_to):
            watch.look()
        watch.finish()
        whole.read(number + len(_READ_AT), _READ_S, stage="after")

    def _bursts(self) -> int:
        """A count and not a time: the same parameters send the same messages, also where a broker is slow."""
        parameters = self._context.parameters
        return max(1, round(float(parameters["sending_s"]) / float(parameters["pace_s"])))

    def _retention_watch(self, role: str, channel: str) -> RetentionWatch:
        every_s = float(self._context.parameters["look_every_s"])
        return RetentionWatch(self._broker, every_s, self._writer, role, channel)

    def _acked(self) -> None:
        """Take and acknowledge, then look again: by a replay where the profile has one, else by receiving."""
        count = int(self._context.parameters["held"])
        channel, _ = self._create("acked", Retention(max_age_s=max(self._age_s, 60.0)))
        producer = self._producer("acked", channel)
        producer.send(range(count))
        producer.flush()
        producer.close()
        count = producer.acknowledged  # no others need come
        consumer = self._consumer("acked", channel, "first", _NUMBERS["acked"], "before")
        for batch in take_until(consumer.take, count, _JOIN_S):
            consumer.acknowledge(batch)
        consumer.close()
        if not isinstance(self._broker, Replayable):
            self._look_again("acked", channel, "second")
            return
        number = _NUMBERS["acked"] + 10
        reader = RecordingReader(
            self._broker, channel, FromBeginning(), self._writer, number=number, role="acked", stage="after"
        )
        for _ in take_until(reader.read, count, _READ_S, most=count):
            pass
        reader.close()
        self._writer.mark("looked", role="acked", proven=True)

    def _size(self) -> None:
        parameters = self._context.parameters
        size, by_messages = int(parameters["size"]), int(parameters["limit_messages"])
        by_bytes = int(parameters["limit_bytes"])
        choices = (Retention(max_bytes=by_bytes, segment_bytes=_SEGMENT_BYTES), Retention(max_messages=by_messages))
        refusals = []
        for retention in choices:
            try:
                channel, _ = self._create("size", retention)
            except Unsupported as refusal:
                refusals.append(refusal.reason)
                continue
            self._fill(channel, 3 * (retention.max_bytes or by_messages * size) // size)
            return
        self._writer.mark("refused", role="size", reason="; ".join(dict.fromkeys(refusals)))

    def _fill(self, channel: str, count: int) -> None:
        """Send beyond the limit, then look until the kept amount no longer changes."""
        producer = self._producer("size", channel)
        for _ in range(0, count, 500):
            producer.send(range(500))
        producer.flush()
        producer.close()
        watch = self._retention_watch("size", channel)
        deadline = time.monotonic() + self._grace_s
        while time.monotonic() < deadline and watch.still_for_s() < max(_SETTLED_AFTER_S, self._lag_s):
            watch.look()
        watch.finish()
        if isinstance(self._broker, Replayable):
            self._whole("size", channel).read(_WHOLE_READERS["size"], _READ_S)

    def held(self) -> None:
        """Deliver without acknowledging, let the limit pass, release, and look for messages that come back."""
        parameters, count = self._context.parameters, int(self._context.parameters["held"])
        channel, _ = self._create(
            "held", Retention(max_age_s=self._age_s, segment_ms=_SEGMENT_MS, segment_bytes=_SEGMENT_BYTES)
        )
        producer = self._producer("held", channel)
        consumer = self._consumer("held", channel, "held", _NUMBERS["held"], "before")
        # A consumer may need seconds to join: one message shows that it is there before the clock starts.
        producer.send([count])
        producer.flush()
        for batch in take_until(consumer.take, 1, _JOIN_S):
            consumer.acknowledge(batch)
        producer.send(range(count))
        producer.flush()
        producer.close()
        sent = time.monotonic()
        if self._age_s > _LONG_LIMIT_S:
            # Taken just before a long limit, these also show that the messages were there until then.
            _sleep_until(sent + self._age_s - _EARLY_LOOK_S)
        kept = list(take_until(consumer.take, count, min(_EARLY_LOOK_S, self._age_s / 2)))
        _sleep_until(sent + self._age_s + max(float(parameters["give_back_after_s"]), self._lag_s))
        if isinstance(self._broker, Retaining):
            self._broker.enforce_retention(channel)
        if isinstance(consumer.consumer, Releasable):
            for batch in kept:
                consumer.release(batch)
        consumer.close()
        # The broker may remove expired messages on a timer, and these only now that no consumer holds them.
        time.sleep(_SWEEP_S)
        self._look_again("held", channel, "held")

    def _look_again(self, role: str, channel: str, group: str) -> None:
        """Receive for a while. A fresh message proves that the look would have seen the others.

        Without that proof a consumer that is slow to join would make messages look gone.
        """
        again = self._consumer(role, channel, group, _NUMBERS[role] + 10, "after")
        probe = self._producer(role, channel, offset=_PROBE, as_role=f"{role}-probe")
        send_fresh(probe)
        probe.close()
        begin, proven = time.monotonic(), False
        while (waited_s := time.monotonic() - begin) < (_LOOK_S if proven else _PROOF_S):
            batch = again.take(100, min(1.0, _PROOF_S - waited_s))
            if len(batch):
                again.acknowledge(batch)  # a share consumer takes no more until then
            proven = proven or _NUMBERS[role] + _PROBE in batch.stamps.producer
        again.close()
        self._writer.mark("looked", role=role, proven=proven)

    def _watch(self, role: str, *, segmented: bool) -> bool:
        """Send at a steady pace, and look until every message is gone or the time of grace is over.

        Returns whether the channel has segments of the asked-for size.
        """
        context, parameters = self._context, self._context.parameters
        retention = Retention(max_age_s=self._age_s)
        if segmented:
            retention = replace(retention, segment_ms=_SEGMENT_MS, segment_bytes=_SEGMENT_BYTES)
        channel, has_segments = self._create(role, retention)
        producer = self._producer(role, channel)
        watch = self._retention_watch(role, channel)
        begin = time.monotonic()
        sending_s, pace_s, burst = float(parameters["sending_s"]), float(parameters["pace_s"]), int(parameters["burst"])
        bursts, sent = self._bursts(), 0
        deadline = begin + sending_s + self._age_s + self._grace_s
        while True:
            now = time.monotonic()
            if sent < bursts and now >= begin + sent * pace_s:
                producer.send(range(sent * burst, (sent + 1) * burst))
                producer.flush()
                sent += 1
            watch.look()
            if (sent == bursts and watch.empty) or now > deadline:
                break
            share = min(0.95, 0.15 + 0.8 * (now - begin) / (sending_s + self._age_s))
            context.progress(share, f"watching {role} messages expire")
        producer.close()
        watch.finish()
        if role == "unread":
            self._look_again(role, channel, "late")
        return has_segments


def _sleep_until(monotonic_s: float) -> None:
    time.sleep(max(0.0, monotonic_s - time.monotonic()))
