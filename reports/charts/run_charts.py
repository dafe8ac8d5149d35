"""Pictures of a run, as Vega-Lite specifications made with altair: drawn to SVG, or interactive in the HTML report."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import altair as alt
from altair.utils.schemapi import debug_mode

from brokerbench.reports import facts, tables, words
from brokerbench.reports.charts import curves, panels, speeds
from brokerbench.reports.charts.panels import SI, Data, Panel, Rows, Spec, colour, panel_title, present, stack
from brokerbench.reports.facts import PropertyOutcome, Seen
from brokerbench.scenarios.results import Cell, Metric, RunResult
from brokerbench.scenarios.verdicts import Grade

_METRICS = {"consumer_lag_over_time": "waiting messages", "backlog_age_over_time": "age of the oldest, in ms"}
_SCENARIOS = ("throughput", "latency")
_WIDTH, _HEIGHT = 560, 80


def lag(result: RunResult, profiles: Sequence[str]) -> Spec | None:
    """The first cell of each profile and scenario that measured speed; None where no result has such metrics."""
    data, panels = Data(), []
    for scenario in _SCENARIOS:
        cells = [cell for profile in profiles if (cell := _first(result, profile, scenario)) is not None]
        for name, title in _METRICS.items():
            shown = [(cell, metric) for cell in cells for metric in cell.metrics if metric.name == name]
            rows = [row for cell, metric in shown for row in _rows(cell, metric)]
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


NAMES = ("verdicts", "speeds", "scaling", "latency", "lag", "replay", "overshoot")
_LABELS = 190
_CELL_WIDTH, _CELL_HEIGHT = 104, 24


def of_run(result: RunResult, profiles: Sequence[str] | None = None) -> dict[str, Spec]:
    """Name to specification; a picture without data is left out."""
    names = list(profiles if profiles is not None else facts.profiles(result))
    if not names:
        return {}
    with debug_mode(False):  # altair validates every part as it is made; a test validates the whole instead
        drawn = {
            "verdicts": verdicts(result, names),
            "speeds": speeds.speeds(result, names),
            "scaling": curves.scaling(result, names),
            "latency": curves.latency(result, names),
            "lag": lag(result, names),
            "replay": speeds.replay(result, names),
            "overshoot": speeds.overshoot(result, names),
        }
    return {name: spec for name, spec in drawn.items() if spec is not None}


def verdicts(result: RunResult, profiles: Sequence[str]) -> Spec | None:
    """Every property on every profile: the meaning of its verdict, or the median of a quantity."""
    rows = [
        _verdict_row(seen, group)
        for group in facts.GROUPS
        for across in facts.examined(result, profiles, group)
        for seen in across
    ]
    if not rows:
        return None
    present = [outcome for outcome in PropertyOutcome if any(row["outcome"] == outcome.value for row in rows)]
    emulated = any(row["emulated"] for row in rows)
    data = Data()
    parts: list[Panel] = []
    for group, title in facts.GROUPS.items():
        if part := [row for row in rows if row["group"] == group]:
            parts.append(_group_chart(data, part, title, profiles, present, first=not parts))
    shown = (facts.seen(result, profile, name) for profile in profiles for name in facts.PROPERTY_NAMES)
    notes = ["Numbers are medians of quantities." if any(map(tables.middle, shown)) else ""]
    notes += ["Pale with a dashed edge: an emulator, which shows only the shape of the API." if emulated else ""]
    return stack(parts, data, "Observed behaviour of each broker", *filter(None, notes), spacing=10)


def _verdict_row(seen: Seen, group: str) -> dict[str, Any]:
    look = panels.LOOKS[seen.outcome]
    quantity = tables.middle(seen)
    return {
        "group": group,
        "profile": seen.profile,
        "property": short(seen.about.name),
        "statement": seen.about.statement,
        "outcome": seen.outcome.value,
        "meaning": facts.MEANINGS[seen.outcome],
        "text": quantity or look.sign,
        "sign": seen.outcome.value if look.path and not quantity else "",
        "ink": panels.INK if seen.grade is Grade.EMULATOR else look.ink,
        "emulated": seen.grade is Grade.EMULATOR,
        "declared": tables.declared(seen.weightiest.declared, seen.about) if seen.rows else words.NOTHING,
        "measured": tables.measured(seen),
        "reason": seen.weightiest.reason if seen.rows else seen.outcome.value,
    }


def short(property_name: str) -> str:
    """``per key, after redelivery`` for ``ordering.per_key.after_redelivery``: the heading says the rest."""
    return property_name.partition(".")[2].replace(".", ", ").replace("_", " ")


def _group_chart(
    data: Data,
    rows: Rows,
    title: str,
    profiles: Sequence[str],
    present: Sequence[PropertyOutcome],
    *,
    first: bool,
) -> Panel:
    order = list(dict.fromkeys(row["property"] for row in rows))
    x = alt.X(
        "profile:N",
        sort=list(profiles),
        title=None,
        scale=alt.Scale(paddingInner=0.05, paddingOuter=0),
        axis=alt.Axis(orient="top", labelAngle=0, domain=False, ticks=False, labelFontWeight=600) if first else None,
    )
    y = alt.Y(
        "property:N",
        sort=order,
        title=None,
        scale=alt.Scale(paddingInner=0.14, paddingOuter=0),
        axis=alt.Axis(
            domain=False, ticks=False, minExtent=_LABELS, maxExtent=_LABELS, labelLimit=_LABELS, labelPadding=8
        ),
    )
    tooltip = [
        alt.Tooltip(name, title=name)
        for name in ("profile:N", "statement:N", "outcome:N", "declared:N", "measured:N", "reason:N")
    ]
    base = alt.Chart(data.add(rows)).encode(x=x, y=y, tooltip=tooltip)
    colour = alt.Color(
        "meaning:N",
        scale=alt.Scale(domain=[facts.MEANINGS[o] for o in present], range=[panels.LOOKS[o].fill for o in present]),
        legend=alt.Legend(orient="bottom", title=None, symbolType="square", symbolSize=180, columns=3),
    )
    field = base.mark_rect(cornerRadius=3).encode(
        color=colour, opacity=alt.condition("datum.emulated", alt.value(0.42), alt.value(1))
    )
    edge = (
        base.transform_filter("datum.emulated")
        .mark_rect(cornerRadius=3, filled=False, stroke=panels.MUTED, strokeDash=[3, 3], strokeWidth=1)
        .encode()
    )
    signs = [outcome for outcome in present if panels.LOOKS[outcome].path]
    sign = (
        base.transform_filter("datum.sign != ''")
        .mark_point(filled=True, size=230, opacity=1)
        .encode(
            shape=alt.Shape(
                "sign:N",
                scale=alt.Scale(domain=[o.value for o in signs], range=[panels.LOOKS[o].path for o in signs]),
                legend=None,
            ),
            color=alt.Color("ink:N", scale=None),
        )
    )
    text = base.mark_text(fontSize=11, fontWeight=600).encode(text="text:N", color=alt.Color("ink:N", scale=None))
    return alt.layer(field, edge, sign, text).properties(
        width=_CELL_WIDTH * len(profiles),
        height=_CELL_HEIGHT * len(order),
        title=panel_title(title, dx=-_LABELS),
    )
