"""Pictures of a run, as Vega-Lite specifications made with altair: drawn to SVG, or interactive in the HTML report."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import altair as alt
from altair.utils.schemapi import debug_mode

from brokerbench.reports import facts, tables, words
from brokerbench.reports.charts import lag, latency, panels, scaling, speeds
from brokerbench.reports.charts.panels import Data, Panel, Rows, Spec, panel_title, stack
from brokerbench.reports.facts import PropertyOutcome, Seen
from brokerbench.scenarios.results import RunResult
from brokerbench.scenarios.verdicts import Grade

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
            "scaling": scaling.scaling(result, names),
            "latency": latency.latency(result, names),
            "lag": lag.lag(result, names),
            "replay": speeds.replay(result, names),
            "overshoot": speeds.overshoot(result, names),
        }
    return {name: spec for name, spec in drawn.items() if spec is not None}


def verdicts(result: RunResult, profiles: Sequence[str]) -> Spec | None:
    """Every property on every profile: the meaning of its verdict, or the median of a quantity."""
    rows = [row for group in facts.GROUPS for row in _group_rows(result, profiles, group)]
    if not rows:
        return None
    present = [outcome for outcome in PropertyOutcome if any(row["outcome"] == outcome.value for row in rows)]
    emulated = any(row["emulated"] for row in rows)
    data = Data()
    parts = [
        _group_chart(
            data,
            [row for row in rows if row["group"] == group],
            title,
            profiles,
            present,
            first=group == rows[0]["group"],
        )
        for group, title in facts.GROUPS.items()
        if any(row["group"] == group for row in rows)
    ]
    shown = (facts.seen(result, profile, name) for profile in profiles for name in facts.PROPERTY_NAMES)
    notes = ["Numbers are medians of quantities." if any(map(tables.middle, shown)) else ""]
    notes += ["Pale with a dashed edge: an emulator, which shows only the shape of the API." if emulated else ""]
    return stack(parts, data, "Observed behaviour of each broker", *filter(None, notes), spacing=10)


def _group_rows(result: RunResult, profiles: Sequence[str], group: str) -> list[dict[str, Any]]:
    """Rows of a group's properties that were examined on some profile."""
    rows = []
    for about in facts.properties_of(group):
        across = [facts.seen(result, profile, about.name) for profile in profiles]
        if any(seen.rows or seen.failed for seen in across):
            rows += [_verdict_row(seen, group) for seen in across]
    return rows


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
