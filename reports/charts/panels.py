"""Parts of every picture: colours, signs, titles, marks, the way from panels to one specification, and to SVG.

Panels are made with altair one by one and stacked as plain data: altair copies the whole content of charts that it
joins, which takes seconds for a dozen panels. Every verdict has a sign of its own, so that colour is not needed.

The width of a text depends on the machine's fonts, so the bytes of an SVG are not comparable across machines. Its first
line therefore carries two hashes: one of the specification with its data, which must follow from the evidence, and one
of the drawing itself, which shows that it was not edited.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import altair as alt
import vl_convert

from brokerbench.reports.facts import PropertyOutcome

INK = "#1f2933"
MUTED = "#6b7785"
GRID = "#e3e7ec"
PAPER = "#ffffff"
FONT = "Helvetica, Arial, 'Liberation Sans', 'DejaVu Sans', sans-serif"

CHECK = "M-0.55,0.02L-0.38,-0.16L-0.14,0.09L0.42,-0.5L0.58,-0.33L-0.14,0.44Z"
CROSS = (
    "M-0.48,-0.34L-0.34,-0.48L0,-0.14L0.34,-0.48L0.48,-0.34L0.14,0L0.48,0.34L0.34,0.48L0,0.14L-0.34,0.48L-0.48,0.34"
    "L-0.14,0Z"
)


@dataclass(frozen=True, slots=True)
class Look:
    """Colour of a verdict's field, colour of its sign, and the sign: a path or a text."""

    fill: str
    ink: str
    path: str = ""
    sign: str = ""


LOOKS: Mapping[PropertyOutcome, Look] = {
    PropertyOutcome.HOLDS: Look("#1f6f8b", "#ffffff", path=CHECK),
    PropertyOutcome.FAILS: Look("#f2c078", "#5a3a00", path=CROSS),
    PropertyOutcome.REFUTED: Look("#b3261e", "#ffffff", sign="!"),
    PropertyOutcome.OPEN: Look("#dde2e8", "#3d4752", sign="?"),
    PropertyOutcome.UNTESTED: Look("#f7f8fa", "#6b7785", sign="n/a"),
    PropertyOutcome.FAILED: Look("#1f2933", "#ffffff", sign="failed"),
    PropertyOutcome.MISSING: Look("#ffffff", "#9aa5b1", sign="none"),
}

SERIES = ("#1f6f8b", "#e07a3f", "#7a5195", "#4f8a3d", "#a63d57")
"""Colours of a series: profiles, batch sizes."""


Spec = Mapping[str, Any]
_HEAD = re.compile(r"<!-- brokerbench: data sha256 ([0-9a-f]{64}), drawing sha256 ([0-9a-f]{64}) -->\n")


def draw(spec: Spec) -> str:
    drawing: str = vl_convert.vegalite_to_svg(dict(spec)).strip() + "\n"
    return f"<!-- brokerbench: data sha256 {data_hash(spec)}, drawing sha256 {_sha256(drawing)} -->\n{drawing}"


def check(path: Path, spec: Spec) -> list[str]:
    """Problems of a committed picture, each a sentence."""
    if not path.exists():
        return [f"{path} is missing"]
    text = path.read_text(encoding="utf-8")
    head = _HEAD.match(text)
    if head is None:
        return [f"{path} was not written by brokerbench"]
    if head[1] != data_hash(spec):
        return [f"{path} does not show the data of its evidence"]
    return [] if head[2] == _sha256(text[head.end() :]) else [f"{path} was edited"]


def data_hash(spec: Spec) -> str:
    """Hash of the content, whatever version of Vega-Lite draws it."""
    content = {key: value for key, value in spec.items() if key != "$schema"}
    return _sha256(json.dumps(content, sort_keys=True, allow_nan=False))


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


Panel = Any
"""A chart of altair: its methods return wide unions."""
Rows = Sequence[Mapping[str, Any]]
SI = "datum.value == 0 ? '0' : format(datum.value, '~s')"
"""Expression for labels of an axis: 0, 500, 20k, 1.5M."""

_CONFIG: Mapping[str, Any] = {
    "font": FONT,
    "view": {"stroke": None},
    "title": {
        "fontSize": 16,
        "color": INK,
        "subtitleColor": MUTED,
        "subtitleFontSize": 12,
        "subtitlePadding": 4,
        "offset": 14,
    },
    "axis": {
        "labelColor": INK,
        "titleColor": MUTED,
        "labelFontSize": 12,
        "titleFontSize": 12,
        "titleFontWeight": "normal",
        "gridColor": GRID,
        "domainColor": GRID,
        "tickColor": GRID,
    },
    "legend": {"labelFontSize": 12, "labelColor": INK, "titleColor": MUTED, "symbolOpacity": 1},
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
    scale = alt.Scale(domain=list(names), range=list(SERIES[: len(names)]))
    return alt.Color(field, scale=scale, legend=alt.Legend(title=None, orient="bottom"))


def dots(base: Panel, hollow: str, size: int, **position: Any) -> list[Panel]:
    """A dot for each row, or a ring where the row's field ``hollow`` is true."""
    dot = base.transform_filter(f"!datum.{hollow}").mark_point(filled=True, size=size, opacity=1)
    ring = base.transform_filter(f"datum.{hollow}").mark_point(fill=PAPER, size=size, opacity=1)
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
        "background": PAPER,
        "padding": 16,
        "config": _CONFIG,
        "datasets": data.sets,
    }


def _plain(panel: Panel) -> dict[str, Any]:
    content: dict[str, Any] = panel.to_dict(validate=False)  # a test validates the whole
    return {key: value for key, value in content.items() if key not in _TOP_ONLY}
