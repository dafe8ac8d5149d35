"""The report of a run as one HTML file: opens from disk, needs no network, and prints."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

import vl_convert
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from brokerbench.reports import decision, facts, requirements, speeds, tables, words
from brokerbench.reports.charts import panels, run_charts
from brokerbench.reports.facts import Seen
from brokerbench.reports.requirements import subject
from brokerbench.scenarios.results import Cell, RunResult
from brokerbench.scenarios.verdicts import Verdict, upper_bound_95

_PICTURES = ("speeds", "scaling", "latency", "lag", "replay", "overshoot")
"""Drawn by Vega; the table of verdicts is HTML, so that its fields link to their evidence."""


def render(result: RunResult, selftest: str = "") -> str:
    """The page. The same result gives the same bytes. ``selftest``: address of the self-test's page."""
    environment = Environment(
        loader=PackageLoader("brokerbench.reports"),
        undefined=StrictUndefined,
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(
        count=words.count,
        listed=words.listed,
        number=words.number,
        rate=words.rate,
        spread=words.spread,
        not_acknowledged=words.not_acknowledged,
    )
    return environment.get_template("report.html.j2").render(_view(result) | {"selftest": selftest})


def _view(result: RunResult) -> dict[str, Any]:
    profiles, options = facts.profiles(result), facts.options(result)
    decisions = decision.decide(result, requirements.shipped(), options) if options else []
    drawn = run_charts.of_run(result, profiles)
    pictures = {name: drawn[name] for name in _PICTURES if name in drawn}
    return {
        "result": result,
        "profiles": profiles,
        "grades": {name: facts.grade_of(result, name) for name in profiles},
        "grade_words": words.GRADE_WORDS,
        "failed": facts.failed_cells(result),
        "disturbed": facts.disturbed_cells(result),
        "totals": facts.counts([row for cell in result.cells for row in cell.verdicts]),
        "Verdict": Verdict,
        "decisions": decisions,
        "flips": {d.need.name: decision.flips(decision.changes(result, d)) for d in decisions},
        "subject": subject,
        "matrix": _matrix(result, profiles),
        "looks": [(facts.MEANINGS[outcome], _css_class(outcome)) for outcome in facts.PropertyOutcome],
        "palette": {_css_class(outcome): look for outcome, look in panels.LOOKS.items()},
        "verdicts": _verdicts(result),
        "bound": upper_bound_95,
        "speeds": speeds.of_run(result, profiles),
        "conditions": speeds.conditions(speeds.of_run(result, profiles)),
        "gaps": tables.gaps(result, profiles),
        "pictures": pictures,
        "specs": Markup(json.dumps(pictures, sort_keys=True).replace("<", "\\u003c")),
        "vega": _script(_vega()) if pictures else "",
        "css_class": _css_class,
    }


def _matrix(
    result: RunResult, profiles: Sequence[str]
) -> list[tuple[str, list[tuple[str, str, list[Mapping[str, Any]]]]]]:
    """Title of each group, and for each of its properties: short name, statement, and a field for each profile."""
    groups = []
    for group, title in facts.GROUPS.items():
        rows = [
            (run_charts.short(across[0].about.name), across[0].about.statement, [_field(seen) for seen in across])
            for across in facts.examined(result, profiles, group)
        ]
        if rows:
            groups.append((title, rows))
    return groups


def _field(seen: Seen) -> Mapping[str, Any]:
    detail = [f"{seen.profile}: {seen.outcome.value}", seen.about.statement]
    if seen.rows:
        declared, measured = tables.declared(seen.weightiest.declared, seen.about), tables.measured(seen)
        detail += [f"declared: {declared}", f"measured: {measured}", seen.weightiest.reason]
    return {
        "profile": seen.profile,
        "outcome": seen.outcome.value,
        "class": _css_class(seen.outcome),
        "sign": tables.middle(seen) or facts.SYMBOLS[seen.outcome],
        "emulated": seen.grade is not None and seen.grade.value == "emulator",
        "detail": "\n".join(detail),
        "anchor": anchor(seen.rows[0].cell, seen.about.name) if seen.rows else "",
    }


def _verdicts(result: RunResult) -> list[tuple[Cell, list[Mapping[str, Any]]]]:
    """Cells with their rows of evidence."""
    found = []
    for cell in result.cells:
        rows: list[Mapping[str, Any]] = []
        for row in cell.verdicts:
            outcome = facts.outcome_of(row)
            seen = facts.alone(cell, row)
            names = list(dict.fromkeys(name for offender in row.evidence.offenders for name in offender))
            rows.append(
                {
                    "anchor": anchor(cell.id, row.property),
                    "row": row,
                    "sign": facts.SYMBOLS[outcome],
                    "class": _css_class(outcome),
                    "meaning": facts.MEANINGS[outcome],
                    "declared": tables.declared(row.declared, seen.about),
                    "measured": tables.measured(seen),
                    "offender_names": names,
                }
            )
        found.append((cell, rows))
    return found


def anchor(cell: str, property_name: str) -> str:
    return f"{cell}--{property_name}"


def _css_class(outcome: facts.PropertyOutcome) -> str:
    return outcome.name.lower()


def _script(text: str) -> Markup:
    """Text that cannot end the script element around it."""
    return Markup(re.sub(r"</(script)", r"<\\/\1", text, flags=re.IGNORECASE))


@cache
def _vega() -> str:
    """Vega, Vega-Lite and Vega-Embed as one script."""
    bundle: str = vl_convert.javascript_bundle()  # type: ignore[call-arg]  # the stub knows no defaults
    return bundle
