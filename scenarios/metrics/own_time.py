"""Time that a load process lost by itself within a window, and the doubts that follow from it.

A generator that was stopped, throttled, starved or descheduled measures itself. Three signs, each independent of the
cause: the process stood still (*stalls*); its loop did not ask the broker between two calls (*gaps*); it sent
messages late though no call waited for the broker (*late*). Time in which a call waits for the broker is none of them.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

LATE_SHARE = 0.01
"""Share of a window's messages: as many as may be later than the latency limit in a window that lasts."""
_LOST_SHARE = 0.05
"""Share of an open-loop window that a process may stand still in short stalls: more would show in latencies."""
_LOST_SHARE_OF_CLOSED_LOOP = 0.20
"""The same of a closed loop, where broker and load processes compete for cores by design: a tenth is usual on two."""


@dataclass(frozen=True, slots=True)
class OwnTime:
    """One load process in one window. ``late``: of ``due`` messages, those later than the limit by its own doing."""

    name: str
    wall_ns: int
    stalls_ms: Sequence[float] = ()
    gaps_ms: Sequence[float] = ()
    due: int = 0
    late: int = 0


def doubts(of: Iterable[OwnTime], limit_ms: float | None = None) -> tuple[str, ...]:
    """Why the figures of a window need not be the broker's, one text a process; none for a sound window.

    ``limit_ms``: the latency that the window is held to, None for a closed loop.
    """
    return tuple(text for own in of if (text := _doubt(own, limit_ms)))


def _doubt(own: OwnTime, limit_ms: float | None) -> str:
    if own.late > LATE_SHARE * own.due:
        return f"{own.name} was late by itself: {own.late:,} of {own.due:,} messages beyond the limit"
    for lost_ms, doing in ((own.stalls_ms, "stood still"), (own.gaps_ms, "did not ask the broker")):
        if _harms(lost_ms, own.wall_ns / 1e6, limit_ms):
            return f"{own.name} {doing} for {sum(lost_ms):,.0f} ms of {own.wall_ns / 1e6:,.0f}"
    return ""


def _harms(lost_ms: Sequence[float], wall_ms: float, limit_ms: float | None) -> bool:
    """A message due in a stall is too late where more than the limit of the stall is left."""
    beyond_ms = 0.0 if limit_ms is None else sum(max(0.0, each - limit_ms) for each in lost_ms)
    most = _LOST_SHARE_OF_CLOSED_LOOP if limit_ms is None else _LOST_SHARE
    return sum(lost_ms) > most * wall_ms or beyond_ms > LATE_SHARE * wall_ms
