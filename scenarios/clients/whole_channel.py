"""Read all that a channel keeps, and write down what the broker said of it before and after."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import numpy as np

from brokerbench.brokers.protocols import Bounded, Broker, Replayable
from brokerbench.brokers.types import FromBeginning
from brokerbench.scenarios.clients.recording import RecordingProducer, RecordingReader
from brokerbench.scenarios.history import Writer

_AT_ONCE = 1000
"""Messages asked for at a time."""
_TRIES = 5
"""A broker may refuse a message, or leave its fate unknown: such a one proves nothing."""


class WholeChannel:
    """Reads a channel from its beginning up to a fresh message, which is sent before each read.

    The fresh message proves that the reader came past all others: without it a slow or silent reader would make
    messages look gone. ``probe`` sends it, under the number ``probe_number``. ``attributes`` (role, ...) go into the
    marks of the readers and of the reads.
    """

    def __init__(
        self,
        broker: Broker,
        channel: str,
        writer: Writer,
        probe: RecordingProducer,
        probe_number: int,
        **attributes: Any,
    ) -> None:
        self._broker, self._channel, self._writer = broker, channel, writer
        self._probe, self._probe_number, self._attributes = probe, probe_number, attributes

    def read(self, number: int, patience_s: float, **attributes: Any) -> None:
        """Read with a new reader of this number, for at most ``patience_s``. Raises TypeError without readers."""
        if not isinstance(self._broker, Replayable):
            raise TypeError("this profile has no readers")
        fresh = send_fresh(self._probe)
        said = {**self._attributes, **attributes}
        first, began_ns = beginnings(self._broker, self._channel), time.monotonic_ns()
        reader = RecordingReader(self._broker, self._channel, FromBeginning(), self._writer, number=number, **said)
        proven, deadline = False, time.monotonic() + patience_s
        while not proven and (left_s := deadline - time.monotonic()) > 0:
            stamps = reader.read(_AT_ONCE, min(left_s, 1.0)).stamps
            proven = bool(np.any((stamps.producer == self._probe_number) & (stamps.seq == fresh)))
        reader.close()
        self._writer.mark(
            "read",
            channel=self._channel,
            reader=number,
            began_ns=began_ns,
            proven=proven,
            first=first,
            first_after=beginnings(self._broker, self._channel),
            **said,
        )


def send_fresh(probe: RecordingProducer) -> int:
    """Send a message until the broker acknowledges one, a few times at most; returns the last one's number."""
    for _ in range(_TRIES):
        before = probe.acknowledged
        fresh = probe.send([0]).first_ticket
        probe.flush()
        if probe.acknowledged > before:
            break
    return fresh


def beginnings(broker: object, channel: str) -> dict[str, int]:
    """The first kept place of each partition, as the broker tells it; empty where it tells none."""
    return as_text(broker.bounds(channel)[0].places) if isinstance(broker, Bounded) else {}


def ends(broker: object, channel: str) -> dict[str, int]:
    """The place after the last of each partition; empty where the broker tells none."""
    return as_text(broker.bounds(channel)[1].places) if isinstance(broker, Bounded) else {}


def as_text(places: Mapping[int, int]) -> dict[str, int]:
    """Partitions as text, as they stand in a mark."""
    return {str(partition): int(place) for partition, place in places.items()}
