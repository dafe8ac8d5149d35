"""The report of a run as one HTML file: opens from disk, needs no network."""

from __future__ import annotations

from jinja2 import Environment, PackageLoader, StrictUndefined

from reports import facts, summary
from scenarios.results import RunResult


def render(result: RunResult) -> str:
    """The whole page. The same result gives the same bytes."""
    environment = Environment(
        loader=PackageLoader("reports"),
        undefined=StrictUndefined,
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    view = {"result": result, "summary": summary.text(result), "failed": facts.failed_cells(result)}
    return environment.get_template("report.html.j2").render(view)
