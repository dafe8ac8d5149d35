"""Readiness proven by a real message: created, sent, received, equal, acknowledged, removed."""

from __future__ import annotations

import time

from brokerbench.brokers import registry
from brokerbench.brokers.errors import BrokerError, Unreachable
from brokerbench.brokers.protocols import Broker
from brokerbench.brokers.types import Batch, ChannelSpec, ConsumerSettings, Endpoint, Outcome, ProducerSettings

_PAYLOAD = b"brokerbench: are you ready?"


class NotReady(RuntimeError):
    """The engine runs, but a message does not pass through. The error names the step that failed."""


def prove(profile: str, endpoint: Endpoint, channel: str, timeout_s: float = 60.0) -> str:
    """Pass one message through the broker; returns the version that the broker answers. Raises NotReady."""
    deadline = time.monotonic() + timeout_s
    broker = _connect(profile, endpoint, deadline)
    try:
        broker.create_channel(ChannelSpec(channel))
        try:
            _pass_one(broker, channel, deadline)
        finally:
            broker.delete_channel(channel)
        return broker.server_version()
    except BrokerError as error:
        raise NotReady(f"{profile} on {endpoint.broker}: {error}") from error
    finally:
        broker.close()


def _connect(profile: str, endpoint: Endpoint, deadline: float) -> Broker:
    """Try until the deadline: a port may be open before the broker answers."""
    while True:
        try:
            return registry.connect(profile, endpoint)
        except Unreachable as error:
            if time.monotonic() > deadline:
                raise NotReady(f"{profile}: {error}") from error
            time.sleep(0.2)
        except BrokerError as error:
            raise NotReady(f"{profile}: {error}") from error


def _pass_one(broker: Broker, channel: str, deadline: float) -> None:
    producer = broker.producer(channel, ProducerSettings(timeout_s=10.0))
    producer.send(Batch([_PAYLOAD], [b"ready"]))
    settled = producer.flush(10.0)
    producer.close()
    if list(settled.outcomes) != [Outcome.ACKNOWLEDGED]:
        raise NotReady(f"a message was sent and not acknowledged: {dict(settled.errors)}")
    consumer = broker.consumer(channel, ConsumerSettings(group="ready"))
    try:
        while time.monotonic() < deadline:
            received = consumer.receive(1, 1.0)
            if len(received):
                if received.payloads[0] != _PAYLOAD:
                    raise NotReady("the message came back altered")
                consumer.acknowledge(received)
                return
        raise NotReady("a message was acknowledged and did not arrive")
    finally:
        consumer.close()
