"""Lag over time: number of waiting messages and age of the oldest one in a cell; a line for each profile."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import altair as alt

from brokerbench.reports.charts.panels import SI, Data, Panel, Rows, Spec, colour, panel_title, present, stack
from brokerbench.scenarios.results import Cell, Metric, RunResult

_METRICS = {"consumer_lag_over_time": "waiting messages", "backlog_age_over_time": "age of the oldest, in ms"}
_SCENARIOS = ("throughput", "latency")
_WIDTH, _HEIGHT = 560, 80


def lag(result: RunResult, profiles: Sequence[str]) -> Spec | None:
    """The first cell of each profile and scenario that measured speed; None where no result has such metrics."""
    data, panels = Data(), []
    for scenario in _SCENARIOS:
        cells = [cell for profile in profiles if (cell := _first(result, profile, scenario)) is not None]
        for name, title in _METRICS.items():
            rows = [
                row for cell in cells for metric in cell.metrics if metric.name == name for row in _rows(cell, metric)
            ]
            if rows:
                last = name == list(_METRICS)[-1]
                panels.append(_panel(data, rows, f"{scenario}: {title}", profiles, last=last))
    if not panels:
        return None
    return stack(
        panels,
        data,
        "Backlog over the time of a cell",
        "Maximum of each interval. Where a cell only publishes for a while, its backlog grows by design.",
    )


def _first(result: RunResult, profile: str, scenario: str) -> Cell | None:
    found = (cell for cell in result.cells if (cell.profile, cell.scenario) == (profile, scenario))
    return next((cell for cell in found if any(metric.name in _METRICS for metric in cell.metrics)), None)


def _rows(cell: Cell, metric: Metric) -> list[dict[str, Any]]:
    every_s = float(metric.labels["every_s"])
    return [
        {"profile": cell.profile, "cell": cell.id, "second": round(at * every_s, 3), "value": value}
        for at, value in enumerate(metric.samples)
    ]


def _panel(data: Data, rows: Rows, title: str, profiles: Sequence[str], *, last: bool) -> Panel:
    chart = alt.Chart(data.add(rows)).mark_line(interpolate="step-after", strokeWidth=1.5)
    return chart.encode(
        x=alt.X("second:Q", axis=alt.Axis(title="seconds since the first send" if last else None, tickCount=8)),
        y=alt.Y("value:Q", axis=alt.Axis(title=None, labelExpr=SI, tickCount=4)),
        color=colour("profile:N", present(profiles, rows)),
        tooltip=["cell:N", alt.Tooltip("second:Q", format=".2f"), alt.Tooltip("value:Q", format=",.0f")],
    ).properties(width=_WIDTH, height=_HEIGHT, title=panel_title(title))
