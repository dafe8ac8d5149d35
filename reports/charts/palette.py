"""Colours and signs of all pictures. Every verdict has a sign of its own, so that colour is not needed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

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
