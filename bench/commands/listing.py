"""``brokerbench list``: profiles, scenarios, engines, plans and properties, as data and as text."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

from brokerbench.bench.engines import catalogue
from brokerbench.brokers import registry
from brokerbench.brokers.declarations import PROPERTIES
from brokerbench.scenarios import experiments

_WIDTH = 100
_BUILT_IN = "built in"


def everything(plans: Path) -> dict[str, Any]:
    """Fit for JSON. Imports no client library."""
    found = registry.catalogue()
    elsewhere = catalogue.elsewhere()
    return {
        "profiles": [
            {
                "name": adapter.profile,
                "engine": adapter.broker or "in process",
                "adapter": adapter.path,
                "origin": found.origins.get(adapter.profile, _BUILT_IN),
            }
            for adapter in found.adapters.values()
        ],
        "broken_plugins": {
            **{f"{registry.ENTRY_POINTS}: {name}": reason for name, reason in found.broken.items()},
            **{f"{catalogue.ENTRY_POINTS}: {name}": reason for name, reason in elsewhere.broken.items()},
        },
        "scenarios": [
            {
                "name": name,
                "summary": experiments.scenario(name).summary,
                "parameters": dict(experiments.scenario(name).defaults),
            }
            for name in experiments.NAMES
        ],
        "durability": [
            {"profile": name, "durability": durability.value, "means": means}
            for name in found.adapters
            if (declaration := registry.declared(name))
            for durability, means in declaration.durability.items()
        ],
        "engines": [
            catalogue.describe(spec)
            | {"origin": elsewhere.found[spec.name].origin if spec.name in elsewhere.found else _BUILT_IN}
            for spec in catalogue.specs()
        ],
        "plans": sorted(path.stem for path in plans.glob("*.yaml")),
        "properties": [
            {"name": entry.name, "kind": entry.kind.value, "unit": entry.unit, "statement": entry.statement}
            for entry in PROPERTIES.values()
        ],
    }


def text(content: Mapping[str, Any]) -> str:
    """The same as tables."""
    parts = [
        _table("Profiles", content["profiles"]),
        _table("Scenarios", [{**row, "parameters": _pairs(row["parameters"])} for row in content["scenarios"]]),
        _table("What a class of durability means", content["durability"]),
        _table("Engines", [{name: row[name] for name in row if name != "settings"} for row in content["engines"]]),
        _table(
            "Settings that engines are started with",
            [
                {"engine": row["name"], "setting": name, "value": value}
                for row in content["engines"]
                for name, value in row["settings"].items()
            ],
        ),
        _table("Properties", content["properties"]),
        f"Plans: {', '.join(content['plans'])}",
    ]
    parts += [f"Broken plug-in {name}: {reason}" for name, reason in content["broken_plugins"].items()]
    return "\n".join(parts)


def _pairs(values: Mapping[str, object]) -> str:
    return ", ".join(f"{name}={value}" for name, value in values.items())


def _table(title: str, rows: Sequence[Mapping[str, Any]]) -> str:
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD)
    for column in rows[0] if rows else ():
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*(str(value) for value in row.values()))
    sink = io.StringIO()
    Console(file=sink, width=_WIDTH).print(table)
    return "\n".join(line.rstrip() for line in sink.getvalue().splitlines()).rstrip() + "\n"
