"""The metrics of ``throughput``, from its history alone: one sample a window, warm-up apart."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np

from brokerbench.brokers.types import Resolution
from brokerbench.scenarios.base import Measured, Sends
from brokerbench.scenarios.history import History
from brokerbench.scenarios.load import workload
from brokerbench.scenarios.metrics import clock_sync, doubts, lag, send_fates, window_rates
from brokerbench.scenarios.metrics.lag import Looks
from brokerbench.scenarios.metrics.window_rates import Timeline, Times, Window

_CLOSED_LOOP = "closed loop: not a latency under a given rate"
_MACHINE = "the whole host: load processes, broker, and whatever else ran on it"
_SEVERAL = "the host of the cell, on which no load process ran unless it was placed there"
_QUANTILES = {"p50": 50.0, "p99": 99.0, "max": 100.0}
_LABELS = ("size", "producers", "consumers", "partitions", "keys", "acknowledge_every", "durability")


@dataclass(frozen=True, slots=True)
class _Side:
    """Publishing or consuming: the same figures, from other columns."""

    name: str
    role: str
    modes: tuple[str, ...]


_SIDES = (_Side("publish", "producer", ("publish", "both")), _Side("consume", "consumer", ("consume", "both")))


def metrics(history: History) -> list[Measured]:
    """Empty where the history holds no experiment of this sort."""
    about = next(iter(history.events("throughput")), None)
    if about is None:
        return []
    parameters = workload.labels(about["parameters"], _LABELS)
    # Where messages differ in size, bytes are counted message by message.
    timeline = window_rates.timeline(history, sizes="size" not in parameters)
    windows, looks = window_rates.windows(history), lag.looks(history)
    fates = _fates(history, windows)
    by_group = {
        group: window_rates.consumed_ns(history, readers) for group, readers in window_rates.several(history).items()
    }
    found: list[Measured] = list(lag.over_time(looks))
    planned = int(about["parameters"].get("repeats", 1))
    for mode, batch in dict.fromkeys((window.mode, window.batch) for window in windows):
        every = [window for window in windows if (window.mode, window.batch) == (mode, batch)]
        trusted, doubt, left_out = doubts.trusted([window for window in every if not window.warmup], planned)
        ours = [window for window in every if window.warmup or window in trusted]
        labels = {"mode": mode, "batch": batch, **parameters, **clock_sync.labels(history)}
        before = len(found)
        for side in _SIDES:
            if mode in side.modes:
                found += _speed(history, timeline, side, ours, labels, fates.get((mode, batch)))
        if mode != "publish":
            found += _by_group(by_group, ours, labels)
        busy = tuple(mark["machine_cores"] for mark in _marks(history, ours))
        found.append(Measured("machine_cpu", "cores", busy, labels, note=_SEVERAL if "hosts" in labels else _MACHINE))
        found += window_rates.metrics(_passed(history, timeline, ours), labels)
        if mode != "consume" and about["settle_resolution"] != Resolution.FLUSH.value:
            found += _latency(
                "publish_latency", ours, labels, timeline.published_ns, timeline.publish_latency_ns, _CLOSED_LOOP
            )
        if mode == "both":
            note = f"{_CLOSED_LOOP}; from sending to receiving"
            latencies = _latency("end_to_end_latency", ours, labels, timeline.received_ns, timeline.end_to_end_ns, note)
            found += clock_sync.stated(latencies, clock_sync.error_ns(history))
            found += _waiting(looks, ours, labels)
        found[before:] = [doubts.stated(metric, doubt, left_out) for metric in found[before:]]
        found += doubts.metrics(_marks(history, every), labels)
    return [metric for metric in found if metric.samples]


def _marks(history: History, windows: Sequence[Window]) -> Iterable[Mapping[str, Any]]:
    """The marks of these windows, without the warm-up."""
    numbers = {window.number for window in windows if not window.warmup}
    return (mark for mark in history.events("window") if mark["window"] in numbers)


def _passed(history: History, timeline: Timeline, windows: Sequence[Window]) -> list[tuple[Mapping[str, Any], int]]:
    """The mark of each window, and how many messages passed: published or consumed, whichever is more."""
    of = {window.number: window for window in windows}
    passed = []
    for mark in _marks(history, windows):
        published, consumed = (
            window_rates.within(times, of[mark["window"]]) for times in (timeline.published_ns, timeline.consumed_ns)
        )
        passed.append((mark, max(published.stop - published.start, consumed.stop - consumed.start)))
    return passed


def _speed(
    history: History,
    timeline: Timeline,
    side: _Side,
    windows: Sequence[Window],
    labels: Mapping[str, Any],
    sends: Sends | None,
) -> Iterable[Measured]:
    times = timeline.published_ns if side.name == "publish" else timeline.consumed_ns
    measured = [window for window in windows if not window.warmup]
    usages = {window.number: window_rates.usage(history, side.role, window.number) for window in measured}
    speeds = _each(windows, lambda window: window_rates.rate(times, window))
    ceiling = window_rates.ceiling(history, side.name, labels["batch"])
    limited = window_rates.limited_by(speeds[0], [entry for entry in usages.values() if entry is not None], ceiling)
    drained = [window for window in measured if window.drained]
    note = f"{len(drained)} of {len(measured)} windows ended early: nothing was left" if drained else ""
    if side.name == "consume" and "groups" in labels:
        labels = {**labels, "group": window_rates.ALL}
        note = "; ".join(filter(None, [f"of all {labels['groups']} groups together", note]))
    rate = _measured(f"{side.name}_rate", "msg/s", speeds, labels, "higher", limited, note)
    yield replace(rate, sends=sends)
    in_bytes = _each(windows, lambda window: _size(timeline, side, labels, window) * window_rates.rate(times, window))
    yield replace(_measured(f"{side.name}_bytes", "B/s", in_bytes, labels, "higher", limited, note), sends=sends)
    if ceiling:
        yield Measured(
            "noop_ceiling", "msg/s", (ceiling,), {**labels, "of": f"{side.name}_rate"}, note="the same loop, no broker"
        )
    cores = tuple(entry.cores for entry in usages.values() if entry is not None)
    loops = tuple(entry.busiest for entry in usages.values() if entry is not None)
    costs = tuple(_cost_us(history, times, side, window) for window in measured)
    of = {**labels, "role": side.role}
    yield Measured("client_cpu", "cores", cores, of, note="all threads of the load processes, client library included")
    yield Measured("client_loop_cpu", "cores", loops, of, note="the busiest load process' own thread")
    resident = tuple(float(window_rates.resident_bytes(history, side.role, window)) for window in measured)
    yield Measured("client_resident", "B", resident, of, note="the largest load process at the end of the window")
    yield Measured("client_cpu_per_message", "us", costs, of, better="lower")


def _size(timeline: Timeline, side: _Side, labels: Mapping[str, Any], window: Window) -> float:
    """Of the messages that the broker took, or handed out, in the window: their mean where they differ in size."""
    if "size" in labels:
        return float(labels["size"])
    if side.name == "publish":
        return window_rates.mean_size(timeline.published_sizes, timeline.published_ns, window)
    return window_rates.mean_size(timeline.received_sizes, timeline.received_ns, window)


def _fates(history: History, windows: Sequence[Window]) -> Mapping[tuple[str, int], Sends]:
    """The fates of the sends of all windows of one mode and batch size that count.

    A window that only consumes has those of the windows that published its backlog.
    """
    sending = [window for window in windows if window.mode != "consume" and not window.warmup]
    of_windows = send_fates.within(history, [(window.start_ns, window.end_ns) for window in sending])
    parts: dict[tuple[str, int], list[Sends]] = {}
    for window, of_window in zip(sending, of_windows, strict=True):
        parts.setdefault((window.mode, window.batch), []).append(of_window)
    fates = {key: send_fates.added(of_windows) for key, of_windows in parts.items()}
    backlogs = {("consume", batch): sends for (mode, batch), sends in fates.items() if mode == "publish"}
    return {**fates, **backlogs}


def _by_group(
    consumed_ns: Mapping[str, Times], windows: Sequence[Window], labels: Mapping[str, Any]
) -> Iterable[Measured]:
    """The rate of each group, where there are several."""
    for group, times in consumed_ns.items():
        speeds = _each(windows, partial(window_rates.rate, times))
        yield _measured("consume_rate", "msg/s", speeds, {**labels, "group": group}, "higher", "", "one of the groups")


def _waiting(looks: Looks, windows: Sequence[Window], labels: Mapping[str, Any]) -> Iterable[Measured]:
    parts = [looks.within(window.start_ns, window.end_ns) for window in windows if not window.warmup]
    most, oldest_ms = tuple(part.most() for part in parts), tuple(part.oldest_ms() for part in parts)
    yield from lag.in_windows(most, oldest_ms, labels, looks.groups)


def _cost_us(history: History, times: Times, side: _Side, window: Window) -> float:
    spent = window_rates.usage(history, side.role, window.number)
    inside = window_rates.within(times, window)
    messages = inside.stop - inside.start
    return spent.process_cpu_ns / 1e3 / messages if spent is not None and messages else 0.0


def _latency(
    name: str, windows: Sequence[Window], labels: Mapping[str, Any], times: Times, values_ns: Times, note: str
) -> Iterable[Measured]:
    parts = [values_ns[window_rates.within(times, window)] for window in windows if not window.warmup]
    rows = [np.percentile(part, list(_QUANTILES.values())) / 1e6 for part in parts if len(part)]
    for at, quantile in enumerate(_QUANTILES):
        samples, of = tuple(float(row[at]) for row in rows), {**labels, "quantile": quantile}
        # Not comparable: a closed loop's latency is its rate again.
        yield Measured(name, "ms", samples, of, better="lower", note=note, comparable=False)


Samples = tuple[tuple[float, ...], tuple[float, ...]]
"""Measured, warm-up."""


def _each(windows: Sequence[Window], value: Callable[[Window], float]) -> Samples:
    measured = tuple(value(window) for window in windows if not window.warmup)
    return measured, tuple(value(window) for window in windows if window.warmup)


def _measured(
    name: str, unit: str, samples: Samples, labels: Mapping[str, Any], better: str, limited: str, note: str
) -> Measured:
    measured, warmup = samples
    return Measured(name, unit, measured, labels, warmup, better, limited, note)
