"""The committed copy of a result, and the line of each cell and each verdict in it, for links."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from brokerbench.scenarios import results
from brokerbench.scenarios.results import RunResult

DIRECTORY = "evidence"
_CELL = re.compile(r'^   "id": "(?P<id>[^"]+)"')
_PROPERTY = re.compile(r'^     "property": "(?P<name>[^"]+)"')


@dataclass(frozen=True, slots=True)
class CommittedEvidence:
    """A result as text, and the line of each part. ``path`` is relative to the docs directory."""

    path: str
    sha256: str
    text: str
    lines: dict[tuple[str, str], int]

    @classmethod
    def of(cls, result: RunResult) -> Self:
        text = results.dump(result)
        digest = hashlib.sha256(text.encode()).hexdigest()
        return cls(f"{DIRECTORY}/{result.run_id}/result.json", digest, text, _lines(text))

    def link(self, cell: str, property_name: str = "") -> str:
        """A relative address with the line of a cell, or of one verdict in it."""
        line = self.lines.get((cell, property_name)) or self.lines.get((cell, ""))
        return f"{self.path}#L{line}" if line else self.path


def _lines(text: str) -> dict[tuple[str, str], int]:
    """Line numbers from 1. Relies on the canonical form: sorted keys put a cell's id before its verdicts."""
    found: dict[tuple[str, str], int] = {}
    cell = ""
    for number, line in enumerate(text.splitlines(), 1):
        if match := _CELL.match(line):
            cell = match["id"]
            found[cell, ""] = number
        elif cell and (match := _PROPERTY.match(line)):
            found[cell, match["name"]] = number
    return found


def path_in(docs: Path, run_id: str) -> Path:
    return docs / DIRECTORY / run_id / "result.json"
