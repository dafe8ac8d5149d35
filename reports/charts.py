"""Pictures of a run, as Vega-Lite specifications made with altair: drawn to SVG, or interactive in the HTML report."""

from __future__ import annotations

from reports.svg import Spec
from scenarios.results import RunResult


def of_run(result: RunResult) -> dict[str, Spec]:
    """Name to specification; a picture without data is left out."""
    return {}
