"""Checks of an adapter's declaration, and of the channels that it makes."""

from __future__ import annotations

from functools import partial

from brokerbench.bench.conformance.model import Context, Skipped, check, expect
from brokerbench.bench.conformance.sandbox import refuses, sandbox, settle_all
from brokerbench.brokers.declarations import PROPERTIES, Kind, Provider, Support
from brokerbench.brokers.errors import BrokerError, ChannelMissing, Refused
from brokerbench.brokers.protocols import Broker, Consumer, Producer, Replayable
from brokerbench.brokers.types import ChannelSpec, ConsumerSettings, Durability, FromBeginning, ProducerSettings


@check("declaration.sound", "the declaration is whole: known properties, sources, bounds, limits")
def sound(context: Context) -> None:
    declaration = context.declaration
    expect(bool(declaration.profile and declaration.product and declaration.summary), "a name or the summary is empty")
    unknown = sorted(set(declaration.properties) - set(PROPERTIES))
    expect(not unknown, f"properties that are not in the vocabulary: {', '.join(unknown)}")
    for name, entry in declaration.properties.items():
        expect(bool(entry.source), f"{name} has no source")
        if entry.support is Support.GUARANTEED:
            expect(entry.provided_by is not Provider.NOBODY, f"{name} is guaranteed and provided by nobody")
            if PROPERTIES[name].kind is Kind.QUANTITY:
                expect(entry.low is not None or entry.high is not None, f"{name} is a quantity without a bound")
    missing = sorted(set(Durability) - set(declaration.durability))
    expect(not declaration.durability or not missing, f"what durability {', '.join(missing)} means is not declared")
    limits = declaration.limits
    for what, least, most in (
        ("lease", limits.lease_min_s, limits.lease_max_s),
        ("retention", limits.retention_min_age_s, limits.retention_max_age_s),
    ):
        expect(least is None or most is None or least <= most, f"the least {what} is longer than the longest")
        expect(least is not None or most is None, f"a longest {what} without a least one")
    for name in ("max_message_bytes", "max_request_messages", "max_request_bytes", "max_unsettled_batches"):
        value = getattr(limits, name)
        expect(value is None or value > 0, f"{name} is {value}")
    expect(bool(limits.drain_proof and limits.payload_encoding), "drain_proof or payload_encoding is empty")


@check("declaration.connection", "every connection declares the same, tells a version, and closes twice")
def connection(context: Context) -> None:
    broker = context.connect()
    try:
        expect(isinstance(broker, Broker), "the connection lacks methods of brokerbench.brokers.protocols.Broker")
        expect(broker.declaration() == context.declaration, "two connections declare different things")
        expect(bool(broker.server_version()), "server_version is empty")
    finally:
        broker.close()
        broker.close()


@check("channel.life", "a channel is made once, seen by other connections, and deleted for good")
def life(context: Context) -> None:
    with sandbox(context) as here:
        name = here.channel()
        refuses("creating a channel that exists", Refused, lambda: here.broker.create_channel(ChannelSpec(name)))
        other = context.connect()
        try:
            expect(other.list_channels(name) == [name], "another connection does not list the channel")
            expect(name in other.list_channels(context.prefix), "a channel is not listed under its prefix")
            producer, consumer = other.producer(name, ProducerSettings()), other.consumer(name, ConsumerSettings())
            expect(
                isinstance(producer, Producer), "the producer lacks methods of brokerbench.brokers.protocols.Producer"
            )
            expect(
                isinstance(consumer, Consumer), "the consumer lacks methods of brokerbench.brokers.protocols.Consumer"
            )
            producer.close()
            consumer.close()
        finally:
            other.close()
        here.broker.delete_channel(name)
        here.broker.delete_channel(name)
        expect(here.broker.list_channels(name) == [], "a deleted channel is still listed")


@check("channel.missing", "what is opened on no channel raises ChannelMissing; deleting none is fine")
def missing(context: Context) -> None:
    with sandbox(context) as here:
        name = here.new_name()
        refuses("a producer on no channel", ChannelMissing, lambda: here.broker.producer(name, ProducerSettings()))
        refuses("a consumer on no channel", ChannelMissing, lambda: here.broker.consumer(name, ConsumerSettings()))
        if isinstance(here.broker, Replayable):
            refuses("a reader on no channel", ChannelMissing, partial(here.broker.reader, name, FromBeginning()))
        here.broker.delete_channel(name)


@check("channel.partitions", "keys are spread over the partitions, where there are any")
def partitions(context: Context) -> None:
    has = context.declaration.limits.has_partitions
    with sandbox(context) as here:
        channel = here.channel(partitions=3)
        here.send(channel, [b"%d" % at for at in range(60)], [b"key-%d" % at for at in range(60)])
        consumer = here.consumer(channel)
        seen: dict[bytes | None, int] = {}
        while len(seen) < 60:
            received = here.first(consumer, 60)
            seen |= dict(zip(received.keys, received.partitions.tolist(), strict=True))
            settle_all(consumer, received)
        if has:
            expect(set(seen.values()) <= {0, 1, 2}, f"partitions are {sorted(set(seen.values()))}, of three")
            expect(len(set(seen.values())) > 1, "60 keys all fell on one partition of three")
        else:
            expect(set(seen.values()) == {-1}, "partitions are told although there are none")


@check("lease.limits", "the least and the longest lease are taken; others are refused and leave nothing")
def lease_limits(context: Context) -> Skipped | None:
    limits = context.declaration.limits
    if limits.lease_min_s is None:
        return Skipped("deliveries have no lease")
    with sandbox(context) as here:
        refused = [-1.0]
        if limits.lease_max_s is not None:
            here.channel(lease_s=limits.lease_max_s)
            refused.append(limits.lease_max_s + 1)
        if limits.lease_min_s > 0:
            here.channel(lease_s=limits.lease_min_s)
            refused.append(limits.lease_min_s / 2)
        for lease_s in refused:
            name = here.new_name()
            here.channels.append(name)
            here.refuses_channel(f"a lease of {lease_s:g} s", BrokerError, ChannelSpec(name, lease_s=lease_s))
    return None
