"""What all pictures share: fonts and colours, a title with notes, and the way to a specification."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import altair as alt

from reports import palette
from reports.svg import Spec

Panel = Any
"""A chart of altair: its methods return unions that say no more than this."""


def inline(rows: Sequence[Mapping[str, Any]]) -> alt.InlineData:
    return alt.InlineData(values=[dict(row) for row in rows])


def panel_title(title: str, dx: int = 0) -> alt.TitleParams:
    return alt.TitleParams(title, anchor="start", frame="group", fontSize=12, fontWeight=700, dx=dx, offset=4)


def heading(title: str, *notes: str) -> alt.TitleParams:
    return alt.TitleParams(title, subtitle=list(notes), anchor="start", frame="bounds")


def finish(chart: Any) -> Spec:
    """The specification with its data inline, on white paper so that it can be read on any page."""
    dressed = chart.configure(
        font=palette.FONT, background=palette.PAPER, padding=16, view=alt.ViewConfig(stroke=None)
    ).configure_title(
        fontSize=16, color=palette.INK, subtitleColor=palette.MUTED, subtitleFontSize=12, subtitlePadding=4, offset=14
    )
    dressed = dressed.configure_axis(
        labelColor=palette.INK,
        titleColor=palette.MUTED,
        labelFontSize=12,
        titleFontSize=12,
        titleFontWeight="normal",
        gridColor=palette.GRID,
        domainColor=palette.GRID,
        tickColor=palette.GRID,
    ).configure_legend(labelFontSize=12, labelColor=palette.INK, titleColor=palette.MUTED, symbolOpacity=1)
    spec: Spec = dressed.to_dict()
    return spec
