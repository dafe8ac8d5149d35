"""The outcomes of a run that end a command with exit code 1. Imports little: the command line names the choices."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from brokerbench.scenarios.results import RunResult

_NAMED = 5


class Failing(StrEnum):
    """The mildest outcome that fails; worse ones fail, too. In order."""

    NEVER = "never"
    FAILED = "failed"
    """A cell failed."""
    REFUTED = "refuted"
    """A verdict contradicts the declaration."""
    INCONCLUSIVE = "inconclusive"
    """A verdict leaves open whether the declaration holds; not one that cannot be tested there."""


def problems(result: RunResult, fail_on: Failing) -> list[str]:
    """Sentences, the worst first; empty where the run is fine."""
    order = list(Failing)
    asked = order[1 : order.index(fail_on) + 1]
    found = []
    failed = [cell.id for cell in result.cells if cell.status == "failed"]
    if Failing.FAILED in asked and failed:
        found.append(f"{len(failed)} of {len(result.cells)} cells failed: {', '.join(failed)}")
    rows = [(f"{cell.id} {row.property}", row.verdict.value) for cell in result.cells for row in cell.verdicts]
    for outcome in (Failing.REFUTED, Failing.INCONCLUSIVE):
        named = [name for name, verdict in rows if verdict == outcome.value]
        if outcome in asked and named:
            more = f" and {len(named) - _NAMED} more" if len(named) > _NAMED else ""
            found.append(f"{len(named)} of {len(rows)} verdicts are {outcome}: {', '.join(named[:_NAMED])}{more}")
    return found
