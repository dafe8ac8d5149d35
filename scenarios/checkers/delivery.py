"""What every load must keep, channel by channel: nothing lost, altered, delivered twice or made up."""

from __future__ import annotations

from typing import Any

from scenarios.checkers import corruption, duplicates, loss, phantom, record
from scenarios.checkers.findings import combined
from scenarios.history import History
from scenarios.verdicts import Finding

PROPERTIES = ("delivery.no_loss", "delivery.intact", "delivery.no_duplicate", "delivery.no_phantom")


def findings(history: History) -> list[Finding]:
    """One finding for each of PROPERTIES, over all channels."""
    parts = [_of_channel(history, channel) for channel in record.channels(history)]
    return [combined(name, (part[at] for part in parts)) for at, name in enumerate(PROPERTIES)]


def _of_channel(history: History, channel: str) -> tuple[Any, ...]:
    """In the order of PROPERTIES."""
    of = record.of_channel(history, channel)
    return (
        loss.lost(of, of.delivered, drained=of.drained()),
        corruption.altered(of, of.delivered),
        duplicates.delivered_again(of, of.delivered),
        phantom.phantoms(of, of.delivered),
    )
