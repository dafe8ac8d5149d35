"""Does every message fit every profile? Asked before an engine starts: a refused load measures another one."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from brokerbench.bench.errors import BadInput
from brokerbench.brokers import registry
from brokerbench.scenarios import experiments
from brokerbench.scenarios.load import replay_log
from brokerbench.scenarios.plans.plan import CellPlan


def check(cells: Sequence[CellPlan], *, elsewhere: bool) -> list[str]:
    """Returns a sentence about each log that the cells replay. Raises BadInput that names the cell and the message.

    ``elsewhere``: load processes may run on other hosts, and read logs that are not here.
    """
    logs: dict[tuple[str, str], str] = {}
    for cell in cells:
        path, column = str(cell.parameters.get("payload_path", "")), str(cell.parameters.get("payload_column", ""))
        if path and elsewhere and not Path(path).exists():
            continue
        declaration = registry.declared(cell.profile)
        try:
            experiments.scenario(cell.scenario).fits(cell.parameters, declaration.limits if declaration else None)
        except ValueError as problem:
            raise BadInput(f"{cell.id}: {problem}") from None
        if path and (path, column) not in logs:
            logs[path, column] = str(replay_log.read(Path(path), column))
    return list(logs.values())
