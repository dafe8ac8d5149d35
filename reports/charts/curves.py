"""Curves: throughput against clients, partitions, batch and message size, with the fitted law; latency against rate."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import altair as alt
import numpy as np

from brokerbench.reports import speeds, words
from brokerbench.reports.charts.panels import (
    SI,
    Data,
    Panel,
    Rows,
    Spec,
    colour,
    dots,
    panel_title,
    present,
    stack,
    whole_numbers,
)
from brokerbench.scenarios.compare import scaling_law
from brokerbench.scenarios.compare.scaling_law import Estimate, Fit
from brokerbench.scenarios.results import Cell, Metric, RunResult

_WIDTH, _HEIGHT = 560, 150
_FEWEST_LEVELS = 3
"""Levels of a curve; two points are a comparison, which the picture of speeds shows."""
_STEPS = 60
"""Points of a fitted curve."""
_BYTES = "datum.value < 1024 ? format(datum.value, 'd') + ' B' : format(datum.value / 1024, '~r') + ' KiB'"


@dataclass(frozen=True, slots=True)
class _Axis:
    """The varied parameter, and the figure shown against it."""

    label: str
    metric: str
    mode: str
    title: str
    clients: bool = False


_AXES = (
    _Axis("producers", "publish_rate", "publish", "Publish, by number of producers", clients=True),
    _Axis("consumers", "consume_rate", "consume", "Consume a backlog, by number of consumers", clients=True),
    _Axis("partitions", "consume_rate", "both", "Publish and consume at once, by partitions"),
    _Axis("batch", "consume_rate", "both", "Publish and consume at once, by messages in a batch"),
    _Axis("size", "consume_rate", "both", "Publish and consume at once, by bytes in a message"),
)


@dataclass(frozen=True, slots=True)
class _Series:
    """All measurements of one profile along one axis, all else being equal; a metric for each level."""

    profile: str
    points: Sequence[tuple[float, Metric]]

    def fit(self) -> Fit | None:
        pairs = [(level, sample) for level, metric in self.points for sample in metric.samples]
        return scaling_law.fit([level for level, _ in pairs], [rate for _, rate in pairs])


def scaling(result: RunResult, profiles: Sequence[str]) -> Spec | None:
    """None where no parameter was varied."""
    data, panels = Data(), []
    for axis in _AXES:
        series = [entry for profile in profiles for entry in _series(result, profile, axis)]
        if series:
            panels.append(_panel(data, axis, series, profiles))
    if not panels:
        return None
    return stack(
        panels,
        data,
        "How throughput grows",
        "Dot: median of the repeats; bar: their range. Hollow: the generator may have set the figure.",
        "Line and band: the Universal Scalability Law and its 95 % interval, of brokers and clients together.",
    )


def _series(result: RunResult, profile: str, axis: _Axis) -> Iterator[_Series]:
    found: dict[tuple[tuple[str, object], ...], dict[float, Metric]] = {}
    for metric in (metric for cell in result.cells if cell.profile == profile for metric in cell.metrics):
        labels = metric.labels
        if metric.name != axis.metric or labels.get("mode") != axis.mode or speeds.of_one_group(metric):
            continue
        if axis.label in labels:
            others = tuple(sorted((name, value) for name, value in labels.items() if name != axis.label))
            points, level = found.setdefault(others, {}), float(labels[axis.label])
            points[level] = _together(points[level], metric) if level in points else metric
    for points in found.values():
        if len(points) >= _FEWEST_LEVELS:
            yield _Series(profile, sorted(points.items()))


def _together(one: Metric, other: Metric) -> Metric:
    """The same figure of two cells: axes of a plan that varies several parameters have a cell in common."""
    limited = one.limited_by or other.limited_by
    return one.model_copy(update={"samples": [*one.samples, *other.samples], "limited_by": limited})


def _panel(data: Data, axis: _Axis, series: Sequence[_Series], profiles: Sequence[str]) -> Panel:
    drawn = [name for name in profiles if any(entry.profile == name for entry in series)]
    colours = colour("profile:N", drawn)
    levels = sorted({level for entry in series for level, _ in entry.points})
    x = alt.X(
        "level:Q",
        scale=alt.Scale(zero=True, nice=False) if axis.clients else alt.Scale(type="log", base=2, nice=False),
        axis=alt.Axis(title=axis.label, values=levels, labelExpr=_BYTES if axis.label == "size" else SI, grid=False),
    )
    base = alt.Chart(data.add([row for entry in series for row in _rows(entry)])).encode(
        x=x,
        color=colours,
        tooltip=[
            "profile:N",
            alt.Tooltip("level:Q", title=axis.label),
            *whole_numbers("median", "low", "high"),
            "repeats:Q",
        ],
    )
    y = alt.Y("median:Q", axis=alt.Axis(title="msg/s", labelExpr=SI, tickCount=5), scale=alt.Scale(zero=True))
    bar = base.mark_rule(strokeWidth=2, opacity=0.45).encode(y="low:Q", y2="high:Q")
    layers: list[Any] = [bar, *dots(base, "limited", 45, y=y)]
    title = panel_title(axis.title)
    fits = [(entry.profile, entry.fit()) for entry in series] if axis.clients else []
    if axis.clients:
        lines = [row for profile, fit in fits if fit for row in _curve(profile, fit, levels[-1])]
        law = alt.Chart(data.add(lines)).encode(x=x, color=colours)
        band = law.mark_area(opacity=0.15).encode(y="low:Q", y2="high:Q", fill=colours, stroke=alt.value(None))
        layers = [band, law.mark_line(strokeWidth=2).encode(y="rate:Q"), *layers]
        title = panel_title(axis.title, subtitle=[_in_words(profile, fit, levels[-1]) for profile, fit in fits])
    else:
        layers.insert(0, base.mark_line(strokeWidth=1.5, opacity=0.6).encode(y=y))
    return alt.layer(*layers).properties(width=_WIDTH, height=_HEIGHT, title=title)


def _rows(series: _Series) -> Iterator[Mapping[str, Any]]:
    for level, metric in series.points:
        yield {
            "profile": series.profile,
            "level": level,
            **words.middle_and_range(metric.samples),
            "repeats": len(metric.samples),
            "limited": bool(metric.limited_by or metric.doubt),
        }


def _curve(profile: str, fit: Fit, last: float) -> Iterator[Mapping[str, Any]]:
    clients = np.linspace(1.0, last, _STEPS)
    for level, low, rate, high in zip(clients.tolist(), *(part.tolist() for part in fit.rate(clients)), strict=True):
        yield {"profile": profile, "level": level, "low": low, "rate": rate, "high": high}


def _in_words(profile: str, fit: Fit | None, last: float) -> str:
    if fit is None:
        return f"{profile}: too few numbers of clients for a fit"
    peak = "no peak" if math.isinf(fit.peak.value) else f"most at {_estimate(fit.peak, '.1f')} clients"
    beyond = ", beyond the measured range" if last < fit.peak.value < math.inf else ""
    return (
        f"{profile}: contention {_estimate(fit.contention, '.2f')}, coherency {_estimate(fit.coherency, '.3f')}, "
        f"{peak}{beyond}; off by {fit.off_by:.0%}"
    )


def _estimate(estimate: Estimate, form: str) -> str:
    low, value, high = (
        "∞" if math.isinf(part) else format(part, form) for part in (estimate.low, estimate.value, estimate.high)
    )
    return f"{value} ({low} to {high})"


_QUANTILES = {"p50": "Median", "p99": "99th percentile", "p99.9": "99.9th percentile"}
_WIDTH, _HEIGHT = 560, 130
_TICKS_MS = [10.0**power for power in range(-3, 6)]


def latency(result: RunResult, profiles: Sequence[str]) -> Spec | None:
    """None where no cell had an open loop."""
    rows = [row for profile in profiles for row in _of_profile(result, profile)]
    if not rows:
        return None
    data = Data()
    drawn = present(profiles, rows)
    by_quantile = {name: [row for row in rows if row["quantile"] == name] for name in _QUANTILES}
    shown = [name for name, found in by_quantile.items() if found]
    panels = [
        _latency_panel(data, by_quantile[name], _QUANTILES[name], drawn, last=name == shown[-1]) for name in shown
    ]
    return stack(
        panels,
        data,
        "Latency under a given rate, from due to received",
        "Open loop: the lateness of the producer counts. Line: median of the windows; bar: their range.",
        "Hollow: the generator may have set the figure. Dashed: the highest rate that lasted.",
    )


def _of_profile(result: RunResult, profile: str) -> list[dict[str, Any]]:
    cells = [cell for cell in result.cells if cell.profile == profile and any(map(_is_curve, cell.metrics))]
    settings = [_settings(cell) for cell in cells]
    varied = [name for name in (settings[0] if cells else ()) if any(of[name] != settings[0][name] for of in settings)]
    return [row for cell in cells for row in _latency_rows(cell, varied)]


def _settings(cell: Cell) -> Mapping[str, Any]:
    """Parameters of a cell as its figures state them: a profile may honour another value than the requested one."""
    labels = next(metric.labels for metric in cell.metrics if _is_curve(metric))
    return {name: labels.get(name, asked) for name, asked in cell.parameters.items()}


def _latency_rows(cell: Cell, varied: Sequence[str]) -> list[dict[str, Any]]:
    """``varied``: settings in which the cells of this profile differ."""
    settings = _settings(cell)
    with_which = ", ".join(f"{name.replace('_', ' ')} {settings[name]}" for name in varied)
    last = max((metric.labels["rate"] for metric in cell.metrics if _is_curve(metric)), default=None)
    lasting = next((words.median(metric.samples) for metric in cell.metrics if metric.name == "sustainable_rate"), None)
    return [
        {
            "profile": cell.profile,
            "cell": cell.id,
            "end": with_which if metric.labels["rate"] == last else "",
            "rate": metric.labels["rate"],
            "quantile": metric.labels["quantile"],
            "median": max(words.median(metric.samples), 1e-3),
            "low": max(min(metric.samples), 1e-3),
            "high": max(metric.samples),
            "windows": len(metric.samples),
            "lasting": lasting,
            "limited": bool(metric.limited_by or metric.doubt),
            "note": metric.note,
        }
        for metric in cell.metrics
        if _is_curve(metric)
    ]


def _is_curve(metric: Metric) -> bool:
    wanted: Mapping[str, object] = {"from": "due"}
    return (
        metric.name == "end_to_end_latency"
        and wanted.items() <= metric.labels.items()
        and "rate" in metric.labels
        and metric.labels.get("quantile") in _QUANTILES
        and bool(metric.samples)
    )


def _latency_panel(data: Data, rows: Rows, title: str, profiles: Sequence[str], *, last: bool) -> Panel:
    base = alt.Chart(data.add(rows)).encode(
        x=alt.X(
            "rate:Q",
            scale=alt.Scale(zero=True),
            axis=alt.Axis(title="messages a second, requested" if last else None, format="~s", tickCount=8),
        ),
        detail=alt.Detail("cell:N"),
        color=colour("profile:N", profiles),
        tooltip=[
            "cell:N",
            alt.Tooltip("rate:Q", format=",.0f"),
            alt.Tooltip("median:Q", format=".3~r", title="ms"),
            alt.Tooltip("low:Q", format=".3~r"),
            alt.Tooltip("high:Q", format=".3~r"),
            "windows:Q",
            "note:N",
        ],
    )
    scale = alt.Scale(type="log", nice=True)
    y = alt.Y("median:Q", scale=scale, axis=alt.Axis(title="ms", values=_TICKS_MS, format="~g"))
    line = base.mark_line(strokeWidth=2).encode(y=y)
    bar = base.mark_rule(strokeWidth=2, opacity=0.45).encode(y=alt.Y("low:Q", scale=scale), y2="high:Q")
    end = base.transform_filter("datum.end != ''").mark_text(dy=-9, align="right").encode(y=y, text="end:N")
    lasting = (
        base.transform_filter("datum.lasting != null")
        .mark_rule(strokeDash=[4, 3], strokeWidth=1.2)
        .encode(x="mean(lasting):Q", tooltip=alt.Tooltip("mean(lasting):Q", format=",.0f", title="highest that lasted"))
    )
    return alt.layer(lasting, bar, line, *dots(base, "limited", 40, y=y), end).properties(
        width=_WIDTH, height=_HEIGHT, title=panel_title(title)
    )
