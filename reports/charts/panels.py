"""Parts of every picture: fonts, colours, titles, marks, and the way from panels to one specification.

Panels are made with altair one by one and stacked as plain data: altair copies the whole content of charts that it
joins, which takes seconds for a dozen panels.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import altair as alt

from brokerbench.reports.charts import palette
from brokerbench.reports.charts.svg import Spec

Panel = Any
"""A chart of altair: its methods return wide unions."""
Rows = Sequence[Mapping[str, Any]]
SI = "datum.value == 0 ? '0' : format(datum.value, '~s')"
"""Expression for labels of an axis: 0, 500, 20k, 1.5M."""

_CONFIG: Mapping[str, Any] = {
    "font": palette.FONT,
    "view": {"stroke": None},
    "title": {
        "fontSize": 16,
        "color": palette.INK,
        "subtitleColor": palette.MUTED,
        "subtitleFontSize": 12,
        "subtitlePadding": 4,
        "offset": 14,
    },
    "axis": {
        "labelColor": palette.INK,
        "titleColor": palette.MUTED,
        "labelFontSize": 12,
        "titleFontSize": 12,
        "titleFontWeight": "normal",
        "gridColor": palette.GRID,
        "domainColor": palette.GRID,
        "tickColor": palette.GRID,
    },
    "legend": {"labelFontSize": 12, "labelColor": palette.INK, "titleColor": palette.MUTED, "symbolOpacity": 1},
}
_TOP_ONLY = ("$schema", "config", "datasets")


class Data:
    """The rows of a picture, by name; ``stack`` adds them to the specification."""

    def __init__(self) -> None:
        self.sets: dict[str, list[dict[str, Any]]] = {}

    def add(self, rows: Rows) -> alt.NamedData:
        name = f"rows{len(self.sets)}"
        self.sets[name] = [dict(row) for row in rows]
        return alt.NamedData(name=name)


def present(profiles: Sequence[str], rows: Rows) -> list[str]:
    """The profiles that have rows, in the given order."""
    return [name for name in profiles if any(row["profile"] == name for row in rows)]


def colour(field: str, names: Sequence[str]) -> alt.Color:
    """A colour for each name, with a legend below the picture."""
    scale = alt.Scale(domain=list(names), range=list(palette.SERIES[: len(names)]))
    return alt.Color(field, scale=scale, legend=alt.Legend(title=None, orient="bottom"))


def dots(base: Panel, hollow: str, size: int, **position: Any) -> list[Panel]:
    """A dot for each row, or a ring where the row's field ``hollow`` is true."""
    dot = base.transform_filter(f"!datum.{hollow}").mark_point(filled=True, size=size, opacity=1)
    ring = base.transform_filter(f"datum.{hollow}").mark_point(fill=palette.PAPER, size=size, opacity=1)
    return [dot.encode(**position), ring.encode(**position)]


def whole_numbers(*names: str) -> list[alt.Tooltip]:
    return [alt.Tooltip(f"{name}:Q", format=",.0f") for name in names]


def panel_title(title: str, dx: int = 0, subtitle: Sequence[str] = ()) -> alt.TitleParams:
    return alt.TitleParams(
        title,
        anchor="start",
        frame="group",
        fontSize=12,
        fontWeight=700,
        dx=dx,
        offset=4,
        subtitle=list(subtitle) if subtitle else alt.Undefined,
        subtitleFontSize=11,
    )


def stack(panels: Sequence[Panel], data: Data, title: str, *notes: str, spacing: int = 14) -> Spec:
    """The specification of panels below each other, on white so that it is legible on any page."""
    return {
        "$schema": alt.SCHEMA_URL,
        "title": {"text": title, "subtitle": list(notes), "anchor": "start", "frame": "bounds"},
        "vconcat": [_plain(panel) for panel in panels],
        "spacing": spacing,
        "background": palette.PAPER,
        "padding": 16,
        "config": _CONFIG,
        "datasets": data.sets,
    }


def _plain(panel: Panel) -> dict[str, Any]:
    content: dict[str, Any] = panel.to_dict(validate=False)  # a test validates the whole
    return {key: value for key, value in content.items() if key not in _TOP_ONLY}
