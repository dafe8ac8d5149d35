"""Checks of replay, of a channel's bounds and backlog, and of retention."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

from brokerbench.bench.conformance.model import Context, Skipped, Violated, check, expect
from brokerbench.bench.conformance.sandbox import Sandbox, numbers, patiently, refuses, same, sandbox, settle_all
from brokerbench.brokers.declarations import Support
from brokerbench.brokers.errors import BrokerError, Unsupported
from brokerbench.brokers.protocols import Bounded, Counting, Reader, Replayable, Retaining
from brokerbench.brokers.types import (
    UNKNOWN_COUNT,
    ChannelSpec,
    FromBeginning,
    FromPosition,
    FromTime,
    Position,
    Received,
    ReplayStart,
    Retention,
)

_PARTITIONS = 3
_LONGEST_WAIT_S = 5.0
"""Longer retentions are left to the experiment about retention."""
_SEGMENT_BYTES = 1 << 20
_MESSAGE_BYTES = 64 << 10


@check("replay.from_beginning", "what was acknowledged is read again whole; or Unsupported is raised")
def from_beginning(context: Context) -> Skipped | None:
    def holds(here: Sandbox, broker: Replayable) -> None:
        channel, rows = _consumed(here, 30)
        reader = broker.reader(channel, FromBeginning())
        got = _read(here, reader, 30)
        _exactly(rows, got)
        if context.support("replay.order") is Support.GUARANTEED:
            for key in set(rows.values()):
                wanted = [payload for payload, of in rows.items() if of == key]
                found = [payload for payload, of, _, _ in got if of == key]
                expect(found == wanted, f"the replay of key {key!r} is out of order")
        here.send(channel, [b"later"], [b"key-0"])
        expect(
            [row[0] for row in _read(here, reader, 1)] == [b"later"], "the reader did not go on with what came later"
        )
        same(context, [b"later"], here.payloads(here.consumer(channel), 1))

    return _held_to(context, "replay.from_beginning", FromBeginning(), holds)


@check("replay.from_position", "a replay from places has what is behind them, on these partitions only")
def from_position(context: Context) -> Skipped | None:
    def holds(here: Sandbox, broker: Replayable) -> None:
        channel, rows = _consumed(here, 60)
        everything = _read(here, broker.reader(channel, FromBeginning()), 60)
        by_partition: dict[int, list[tuple[int, bytes]]] = {}
        for payload, _, partition, place in everything:
            by_partition.setdefault(partition, []).append((place, payload))
        # One partition is not named, and is not read; of the others the first half is left out.
        named = sorted(by_partition)[1:] or sorted(by_partition)
        starts = {
            partition: sorted(by_partition[partition])[len(by_partition[partition]) // 2][0] for partition in named
        }
        wanted = [
            payload
            for partition, start in starts.items()
            for place, payload in by_partition[partition]
            if place >= start
        ]
        got = _read(here, broker.reader(channel, FromPosition(Position(starts))), len(wanted))
        _exactly({payload: rows[payload] for payload in wanted}, got)

    return _held_to(context, "replay.from_position", FromPosition(Position({0: 0})), holds)


@check("replay.from_time", "a replay from a time has what the broker dates then or later")
def from_time(context: Context) -> Skipped | None:
    def holds(here: Sandbox, broker: Replayable) -> None:
        channel = here.channel(partitions=_PARTITIONS)
        early = here.send(channel, numbers(10), _keys(10))
        time.sleep(max(0.05, 3 * context.declaration.limits.broker_clock_resolution_ns / 1e9))
        here.send(channel, numbers(10, 10), _keys(10))
        reader = broker.reader(channel, FromBeginning())
        times: dict[bytes, int] = {}
        while len(times) < 20:
            received = _some(here, reader)
            times |= dict(zip(received.payloads, received.broker_epoch_ns.tolist(), strict=True))
        start_ns = min(times[payload] for payload in numbers(10, 10))
        expect(
            max(times[payload] for payload in numbers(10)) < start_ns,
            f"{len(early)} messages sent 50 ms before the others do not have an earlier broker time",
        )
        got = _read(here, broker.reader(channel, FromTime(start_ns)), 10)
        _exactly(dict(zip(numbers(10, 10), _keys(10), strict=True)), got)

    return _held_to(context, "replay.from_time", FromTime(0), holds)


@check("replay.independent", "two readers read everything and do not disturb each other")
def independent(context: Context) -> Skipped | None:
    def holds(here: Sandbox, broker: Replayable) -> None:
        channel, rows = _consumed(here, 30)
        one, two = broker.reader(channel, FromBeginning()), broker.reader(channel, FromBeginning())
        begun = _read(here, one, 1, 1)
        _exactly(rows, _read(here, two, 30))
        _exactly(rows, [*begun, *_read(here, one, 29)])

    return _held_to(context, "replay.independent_reader", FromBeginning(), holds)


def _held_to(
    context: Context, name: str, start: ReplayStart, holds: Callable[[Sandbox, Replayable], None]
) -> Skipped | None:
    """Check a guaranteed property; an impossible one must be refused."""
    support = context.support(name)
    with sandbox(context) as here:
        if support is Support.GUARANTEED:
            if not isinstance(here.broker, Replayable):
                raise Violated(f"{name} is declared, and the broker has no reader")
            holds(here, here.broker)
            return None
        if support is Support.IMPOSSIBLE:
            if isinstance(here.broker, Replayable):
                refuses(name, Unsupported, partial(here.broker.reader, here.channel(), start))
            return None
    return Skipped(f"{name} is {support}: nothing to hold it to")


def _consumed(here: Sandbox, count: int) -> tuple[str, dict[bytes, bytes]]:
    """A channel of several partitions whose messages were sent, delivered and acknowledged: payload -> key."""
    channel = here.channel(partitions=_PARTITIONS)
    here.send(channel, numbers(count), _keys(count))
    consumer = here.consumer(channel)
    same(here.context, numbers(count), here.payloads(consumer, count))
    consumer.close()
    return channel, dict(zip(numbers(count), _keys(count), strict=True))


def _keys(count: int) -> list[bytes]:
    return [b"key-%d" % (at % 10) for at in range(count)]


def _some(here: Sandbox, reader: Reader, most: int = 7) -> Received:
    """The reader's next messages. Raises Violated when there are none."""
    received = reader.read(most, here.context.patience_s)
    expect(len(received) <= most, f"{len(received)} messages came where {most} were asked for")
    expect(len(received) > 0, f"nothing was read within {here.context.patience_s:g} s")
    expect(bool((received.delivery_counts == UNKNOWN_COUNT).all()), "a reader counts deliveries")
    return received


def _read(here: Sandbox, reader: Reader, count: int, most: int = 7) -> list[tuple[bytes, bytes | None, int, int]]:
    """Rows of (payload, key, partition, place): at least ``count``."""
    rows: list[tuple[bytes, bytes | None, int, int]] = []
    while len(rows) < count:
        received = _some(here, reader, most)
        columns = (received.payloads, received.keys, received.partitions.tolist(), received.places.tolist())
        rows += zip(*columns, strict=True)
    return rows


def _exactly(wanted: dict[bytes, bytes], got: Sequence[tuple[bytes, bytes | None, int, int]]) -> None:
    payloads = [row[0] for row in got]
    strange = [payload for payload in payloads if payload not in wanted]
    expect(not strange, f"{len(strange)} messages were read that should not be, the first: {strange[:1]}")
    expect(len(set(payloads)) == len(payloads), "a replay contains a message twice")
    expect(len(payloads) == len(wanted), f"{len(payloads)} of {len(wanted)} messages were read")
    expect(all(wanted[row[0]] == row[1] for row in got), "keys of a replay are not those that were sent")


@check("channel.bounds", "a channel begins at its first kept message and ends after its last")
def bounds(context: Context) -> Skipped | None:
    with sandbox(context) as here:
        if not isinstance(here.broker, Bounded):
            return Skipped("the broker does not tell where a channel begins and ends")
        channel = here.channel(partitions=_PARTITIONS)
        begin, end = here.broker.bounds(channel)
        expect(set(begin.places) == set(end.places), "begin and end name different partitions")
        expect(begin.places == end.places, "an empty channel does not end where it begins")
        here.send(channel, numbers(30), _keys(30))
        consumer = here.consumer(channel)
        places: dict[int, list[int]] = {}
        while sum(map(len, places.values())) < 30:
            received = here.first(consumer, 30)
            for partition, place in zip(received.partitions.tolist(), received.places.tolist(), strict=True):
                places.setdefault(partition, []).append(place)
            settle_all(consumer, received)
        begin, end = here.broker.bounds(channel)
        for partition, known in places.items():
            expect(begin.places[partition] == min(known), f"partition {partition} does not begin at its first message")
            expect(end.places[partition] == max(known) + 1, f"partition {partition} does not end after its last one")
    return None


@check("channel.backlog", "the backlog counts what a group has not acknowledged")
def backlog(context: Context) -> Skipped | None:
    with sandbox(context) as here:
        broker = here.broker
        if not isinstance(broker, Counting):
            return Skipped("the broker does not count a backlog")
        channel = here.channel()

        def settles_at(count: int, when: str) -> None:
            def reached() -> None:
                found = broker.backlog(channel, "conformance")
                expect(found == count, f"the backlog {when} is {found}, not {count}")

            patiently(context, reached, Violated, "waited in vain")

        settles_at(0, "of an empty channel")
        here.send(channel, numbers(10))
        settles_at(10, "of 10 new messages")
        consumer = here.consumer(channel)
        received = here.first(consumer)
        settles_at(10, "of 10 messages, some of them delivered")
        settle_all(consumer, received)
        if len(received) < 10:
            here.gather(consumer, 10 - len(received))
        settles_at(0, "after all were acknowledged")
    return None


@check("retention.age_limits", "the least and the longest age are taken; others are refused")
def age_limits(context: Context) -> Skipped | None:
    limits = context.declaration.limits
    if context.support("retention.by_age") is not Support.GUARANTEED or not limits.retention_min_age_s:
        return Skipped("no least age is declared")
    with sandbox(context) as here:
        accepted = [age_s for age_s in (limits.retention_min_age_s, limits.retention_max_age_s) if age_s is not None]
        for age_s in accepted:
            here.channel(retention=Retention(max_age_s=age_s))
        refused = [limits.retention_min_age_s - 1] if limits.retention_min_age_s > 1 else []
        refused += [limits.retention_max_age_s + 1] if limits.retention_max_age_s is not None else []
        for age_s in refused:
            spec = ChannelSpec(here.new_name(), retention=Retention(max_age_s=age_s))
            here.refuses_channel(f"a retention of {age_s:g} s", BrokerError, spec)
    return None


@check("retention.by_age", "what is too old goes; or Unsupported is raised")
def by_age(context: Context) -> Skipped | None:
    support = context.support("retention.by_age")
    age_s = max(context.declaration.limits.retention_min_age_s or 0.0, 1.0)
    with sandbox(context) as here:
        if support is Support.IMPOSSIBLE:
            limit = Retention(max_age_s=age_s)
            here.refuses_channel(f"{limit}", Unsupported, ChannelSpec(here.new_name(), retention=limit))
            return None
        if support is not Support.GUARANTEED:
            return Skipped(f"retention.by_age is {support}: nothing to hold it to")
        if age_s > _LONGEST_WAIT_S:
            here.channel(retention=Retention(max_age_s=age_s))
            return Skipped(f"accepted; the shortest, {age_s:g} s, is too long to wait for here")
        channel = _with_segments(here, Retention(max_age_s=age_s, segment_ms=1000, segment_bytes=_SEGMENT_BYTES))
        here.send(channel, numbers(10))
        _until(here, channel, lambda kept: not kept, "10 messages are still there")
    return None


@check("retention.by_size", "the oldest go beyond a size; or Unsupported is raised")
def by_size(context: Context) -> Skipped | None:
    support = context.support("retention.by_size")
    excess = context.declaration.of("retention.size_excess").high
    with sandbox(context) as here:
        limits = Retention(max_messages=32), Retention(max_bytes=32 * _MESSAGE_BYTES, segment_bytes=_SEGMENT_BYTES)
        if support is Support.IMPOSSIBLE:
            for limit in limits:
                limit = replace(limit, segment_bytes=None)
                here.refuses_channel(f"{limit}", Unsupported, ChannelSpec(here.new_name(), retention=limit))
            return None
        if support is not Support.GUARANTEED:
            return Skipped(f"retention.by_size is {support}: nothing to hold it to")
        taken = 0
        for limit in limits:
            try:
                channel = _with_segments(here, limit)
            except Unsupported:
                continue
            taken += 1
            payloads = [b"%06d" % at + bytes(_MESSAGE_BYTES - 6) for at in range(96)]
            here.send(channel, payloads)
            most = 32 * (1 + (excess or 0.0))
            _until(
                here,
                channel,
                lambda kept: len(kept) <= most,  # noqa: B023  # called before the loop goes on
                f"of 96 messages more than {most:g} are kept",
            )
            kept = _kept(here, channel)
            expect(kept == payloads[len(payloads) - len(kept) :], "not the youngest were kept")
            expect(bool(kept), "nothing was kept")
        expect(taken > 0, "retention.by_size is declared; neither bytes nor messages can be limited")
    return None


def _with_segments(here: Sandbox, retention: Retention) -> str:
    """With segments where the broker has any: they make it remove quickly."""
    try:
        return here.channel(retention=retention)
    except Unsupported:
        return here.channel(retention=replace(retention, segment_ms=None, segment_bytes=None))


def _until(here: Sandbox, channel: str, fits: Callable[[list[bytes]], bool], otherwise: str) -> None:
    patiently(here.context, lambda: expect(fits(_kept(here, channel)), otherwise), Violated, "waited in vain")


def _kept(here: Sandbox, channel: str) -> list[bytes]:
    """Payloads that are still there: read again where possible, else received by a group of its own."""
    broker = here.broker
    if isinstance(broker, Retaining):
        broker.enforce_retention(channel)
    payloads: list[bytes] = []
    if isinstance(broker, Replayable):
        reader = broker.reader(channel, FromBeginning())
        while len(page := reader.read(1000, 0.5)):
            payloads += page.payloads
        reader.close()
        return payloads
    consumer = here.consumer(channel, here.new_name())
    while len(page := consumer.receive(1000, 1.0)):
        payloads += page.payloads
        settle_all(consumer, page)
    consumer.close()
    return payloads
