"""Channels of an experiment, created with a mark of everything that is judged against later."""

from __future__ import annotations

from brokerbench.brokers.protocols import Broker
from brokerbench.brokers.types import ChannelSpec
from brokerbench.scenarios.history import Writer


def create(broker: Broker, spec: ChannelSpec, writer: Writer) -> None:
    """Create the channel, and mark its lease and the broker's clock (``checkers/index/promises.py`` reads the mark)."""
    broker.create_channel(spec)
    limits = broker.declaration().limits
    writer.mark(
        "channel",
        channel=spec.name,
        lease_s=None if limits.lease_min_s is None else spec.lease_s,
        buffers_ahead=limits.buffers_ahead,
        broker_clock=limits.broker_clock,
        broker_clock_resolution_ns=limits.broker_clock_resolution_ns,
    )
