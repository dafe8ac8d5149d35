"""Judges a saved run again, from its histories and the declarations saved beside them. No broker, no engine."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from brokerbench.bench import seal, store
from brokerbench.bench.errors import BadInput
from brokerbench.bench.run.cell import examine
from brokerbench.scenarios.results import SCHEMA_VERSION, Cell, RunResult


def analyse(run: Path, say: Callable[[str], None]) -> RunResult:
    """The run with new verdicts and metrics, saved in its place. Raises BadInput for a damaged run.

    A cell that failed after its experiment had ended (interrupted, short of memory) is judged, too. ``say`` gets a
    sentence about histories whose changes would not all be noticed.
    """
    result = store.load(run)
    by_size = list[str]()
    anew = result.model_copy(
        update={"schema_version": SCHEMA_VERSION, "cells": [_cell(run, cell, by_size) for cell in result.cells]}
    )
    if by_size:
        say(
            f"{len(by_size)} of {len(result.cells)} histories are sealed by size only, as former versions did: "
            f"a change that keeps the size of a file is not noticed ({', '.join(by_size)})"
        )
    store.save(run, anew)
    return anew


def _cell(run: Path, cell: Cell, by_size: list[str]) -> Cell:
    """Adds the cell to ``by_size`` where its seal keeps sizes only."""
    directory = store.cell_directory(run, cell.id)
    if cell.status != "completed" and not seal.exists(directory):
        return cell
    try:
        strength = seal.check(directory)
        judged = examine(cell, directory)
    except Exception as problem:  # a file that was damaged before it was sealed by size may raise anything
        what = str(problem) if isinstance(problem, ValueError) else f"{type(problem).__name__}: {problem}"
        why = f"{run}: the cell {cell.id} cannot be judged again: {what}"
        if cell.status == "completed":
            raise BadInput(why) from problem
        return cell.model_copy(update={"unjudged": why})
    if strength is seal.Strength.SIZES:
        by_size.append(cell.id)
    return judged
