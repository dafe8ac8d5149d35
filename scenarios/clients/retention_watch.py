"""Watch what a channel keeps, by positions where there are some, else by a count, and record each change."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from brokerbench.brokers.errors import Unsupported
from brokerbench.brokers.protocols import Bounded, Broker, Counting, Retaining
from brokerbench.scenarios.clients.whole_channel import as_text
from brokerbench.scenarios.history import Writer

_GROUP_WITHOUT_MEMBERS = "brokerbench-watch"
"""A name for counts: no consumer is of this group, so that for it a channel keeps all that it keeps."""


class RetentionWatch:
    """Looks at what a channel keeps; records each change together with the look before it."""

    def __init__(self, broker: Broker, every_s: float, writer: Writer, role: str, channel: str) -> None:
        self._broker, self._every_s = broker, every_s
        self._writer, self._role, self._channel = writer, role, channel
        self._last: dict[str, Any] | None = None
        self._pending: dict[str, Any] | None = None
        self._changed = time.monotonic()
        self.empty = False

    def still_for_s(self) -> float:
        return time.monotonic() - self._changed

    def is_gone(self, ends: Mapping[str, int]) -> bool:
        """Whether the last look showed that each partition begins at one of these places or later."""
        first = self._last.get("first", {}) if self._last else {}
        return bool(ends) and all(first.get(partition, -1) >= end for partition, end in ends.items())

    def look(self) -> None:
        begin = time.monotonic()
        if isinstance(self._broker, Retaining):
            self._broker.enforce_retention(self._channel)
        asked_ns = time.monotonic_ns()
        seen = self._see()
        row = {"asked_ns": asked_ns, "answered_ns": time.monotonic_ns(), **seen}
        if self._last is None or any(self._last[name] != seen[name] for name in seen):
            if self._pending is not None:
                self._writer.mark("look", role=self._role, **self._pending)
            self._writer.mark("look", role=self._role, **row)
            self._changed = time.monotonic()
            self.empty = seen["first"] == seen["end"] if "first" in seen else seen["count"] == 0
            self._last, self._pending = row, None
        else:
            self._pending = row  # of equal looks only the last before a change is recorded
        time.sleep(max(0.0, self._every_s - (time.monotonic() - begin)))

    def finish(self) -> None:
        """Record the last look and the end of the watch."""
        if self._pending is not None:
            self._writer.mark("look", role=self._role, **self._pending)
            self._pending = None
        self._writer.mark("watched", role=self._role)

    def _see(self) -> dict[str, Any]:
        if isinstance(self._broker, Bounded):
            first, end = self._broker.bounds(self._channel)
            return {
                "first": as_text(first.places),
                "end": as_text(end.places),
            }
        if isinstance(self._broker, Counting):
            return {"count": self._broker.backlog(self._channel, _GROUP_WITHOUT_MEMBERS)}
        raise Unsupported("watching retention", "the profile tells neither positions nor counts")
