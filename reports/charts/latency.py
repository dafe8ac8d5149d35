"""Latency against rate in an open loop: a line for each cell, coloured by profile."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import altair as alt

from brokerbench.reports import words
from brokerbench.reports.charts.panels import Data, Panel, Rows, Spec, colour, dots, panel_title, present, stack
from brokerbench.scenarios.results import Cell, Metric, RunResult

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
    panels = [_panel(data, by_quantile[name], _QUANTILES[name], drawn, last=name == shown[-1]) for name in shown]
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
    return [row for cell in cells for row in _rows(cell, varied)]


def _settings(cell: Cell) -> Mapping[str, Any]:
    """Parameters of a cell as its figures state them: a profile may honour another value than the requested one."""
    labels = next(metric.labels for metric in cell.metrics if _is_curve(metric))
    return {name: labels.get(name, asked) for name, asked in cell.parameters.items()}


def _rows(cell: Cell, varied: Sequence[str]) -> list[dict[str, Any]]:
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
            "limited": bool(metric.limited_by),
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


def _panel(data: Data, rows: Rows, title: str, profiles: Sequence[str], *, last: bool) -> Panel:
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
