"""Results in the shape of the OpenMessaging Benchmark's ``TestResult``, from a history, for its chart scripts.

Units are its own: rates in messages a second (consumed by all subscriptions together, as the backlog is), publish and
end-to-end latency in ms *from sending on*, publish delay (how late it was sent) in us; one value for each period of
ten seconds. Two differences: a message belongs to the period in which it was due, so that none is left out because it
was late; and only a message's first delivery counts.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from pydantic.alias_generators import to_camel

from brokerbench.brokers.types import Resolution
from brokerbench.scenarios.analysis import latency
from brokerbench.scenarios.history import History
from brokerbench.scenarios.metrics import message_times, window_rates
from brokerbench.scenarios.metrics.message_times import NEVER, MessageTimes, Times

PERIOD_NS = 10_000_000_000
_PERCENTILES = {"50pct": 50.0, "75pct": 75.0, "95pct": 95.0, "99pct": 99.0, "999pct": 99.9, "9999pct": 99.99}
_TICKS = 100
"""Steps of its percentile curves for each halving of the distance to 100 %."""


@dataclass(frozen=True, slots=True)
class About:
    """The head of a ``TestResult``, whose names are in camel case."""

    workload: str
    driver: str
    message_size: int
    topics: int
    partitions: int
    producers_per_topic: int
    consumers_per_topic: int

    def fields(self) -> dict[str, str | int]:
        return {to_camel(name): value for name, value in asdict(self).items()}


def as_test_result(history: History, about: About) -> dict[str, Any]:
    """Raises ValueError for a history without such windows: publishing and consuming at once.

    Of a ``latency`` cell the last window of its curve (or that with a backlog, where one was built) counts; of a
    ``throughput`` cell all windows, one after the other.
    """
    windows = _windows(history)
    if not windows:
        raise ValueError("it holds no window in which was published and consumed at once")
    all_messages = message_times.of_history(history)
    periods = [period for window in windows for period in _periods(*window)]
    found: dict[str, Any] = about.fields()
    found |= _rates(all_messages, periods)
    parts = [all_messages.due_within(*period) for period in periods]
    told = not any(mark.get("settle_resolution") == Resolution.FLUSH.value for mark in history.marks)

    def after(end: str, *, corrected: bool = False) -> list[Times]:
        return [latency.latencies_ns(part, end, corrected=corrected) for part in parts]

    found |= _latencies("publishLatency", [part / 1e6 for part in after("settled_ns")] if told else [])
    found |= _latencies("publishDelayLatency", [part // 1000 for part in after("sent_ns", corrected=True)])
    found |= _latencies("endToEndLatency", [part / 1e6 for part in after("received_ns")])
    return found


def _windows(history: History) -> list[tuple[int, int]]:
    paced = latency.paced_windows(history)
    if paced:
        backlog = [window for window in paced if window.purpose == "backlog"]
        curve = [window for window in paced if window.purpose == "curve"]
        return [(window.start_ns, window.end_ns) for window in (backlog or curve)[-1:]]
    both = [window for window in window_rates.windows(history) if window.mode == "both" and not window.warmup]
    return [(window.start_ns, window.end_ns) for window in both]


def _periods(start_ns: int, end_ns: int) -> list[tuple[int, int]]:
    """Stretches of ten seconds; the last one is longer by the remainder."""
    starts = list(range(start_ns, max(start_ns + 1, end_ns - PERIOD_NS + 1), PERIOD_NS))
    return list(zip(starts, [*starts[1:], end_ns], strict=True))


def _rates(messages: MessageTimes, periods: Sequence[tuple[int, int]]) -> dict[str, list[float]]:
    sent = messages.as_sent()
    settled, received = np.sort(sent.settled_ns), np.sort(messages.received_ns)
    lost = np.sort(sent.sent_ns[sent.settled_ns == NEVER])
    ends = np.array([end_ns for _, end_ns in periods], np.int64)
    return {
        "publishRate": _each(settled, periods),
        "publishErrorRate": _each(lost, periods),
        "consumeRate": _each(received, periods),
        "backlog": messages.backlog(ends).tolist(),
    }


def _each(times: Times, periods: Sequence[tuple[int, int]]) -> list[float]:
    counts = [np.searchsorted(times, end) - np.searchsorted(times, start) for start, end in periods]
    return [float(count) / (end - start) * 1e9 for count, (start, end) in zip(counts, periods, strict=True)]


def _latencies(name: str, parts: Sequence[npt.NDArray[Any]]) -> dict[str, Any]:
    """The lists by period, and the aggregate. Percentiles are values that occurred; nothing measured lists nothing."""
    filled = [np.sort(part) for part in parts if len(part)]
    summaries = [_summary(part) for part in filled]
    names = ("Avg", *_PERCENTILES, "Max")
    found: dict[str, Any] = {f"{name}{end}": [summary[end] for summary in summaries] for end in names}
    whole = np.sort(np.concatenate(filled)) if filled else np.empty(0)
    aggregate = f"aggregated{name[0].upper()}{name[1:]}"
    summary = _summary(whole) if len(whole) else dict.fromkeys(names)
    found |= {f"{aggregate}{end}": summary[end] for end in names}
    found[f"{aggregate}Quantiles"] = {str(percent): _at(whole, percent) for percent in _curve(len(whole))}
    return found


def _summary(values: npt.NDArray[Any]) -> Mapping[str, float | int | None]:
    """Of sorted values."""
    return {
        "Avg": float(np.mean(values)),
        **{end: _at(values, percent) for end, percent in _PERCENTILES.items()},
        "Max": values[-1].item(),
    }


def _at(values: npt.NDArray[Any], percent: float) -> float | int:
    """The smallest value that ``percent`` of all do not exceed, as HdrHistogram defines it."""
    rank = max(1, math.ceil(percent / 100 * len(values) - 1e-9))
    value: float | int = values[min(rank, len(values)) - 1].item()
    return value


def _curve(count: int) -> list[float]:
    """The percentiles at which HdrHistogram's ``percentiles(100)`` looks, until less than one value is beyond."""
    if not count:
        return []
    percents, percent = list[float](), 0.0
    while (100.0 - percent) / 100.0 * count >= 1.0:
        percents.append(percent)
        halvings = math.floor(math.log2(100.0 / (100.0 - percent))) + 1
        percent += 100.0 / (_TICKS * 2**halvings)
    return [*percents, 100.0]
