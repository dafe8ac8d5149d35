"""Judges a saved run again, from its histories and the declarations saved beside them. No broker, no engine."""

from __future__ import annotations

from pathlib import Path

from brokerbench.bench import store
from brokerbench.bench.errors import BadInput
from brokerbench.bench.run.cell import examine
from brokerbench.scenarios.results import SCHEMA_VERSION, Cell, RunResult


def analyse(run: Path) -> RunResult:
    """The run with new verdicts and metrics, saved in its place. Raises BadInput for a damaged run.

    A cell that failed after its experiment had ended (interrupted, short of memory) is judged, too.
    """
    result = store.load(run)
    anew = result.model_copy(
        update={"schema_version": SCHEMA_VERSION, "cells": [_cell(run, cell) for cell in result.cells]}
    )
    store.save(run, anew)
    return anew


def _cell(run: Path, cell: Cell) -> Cell:
    directory = store.cell_directory(run, cell.id)
    if cell.status != "completed" and not store.sealed(directory):
        return cell
    try:
        store.check_history(directory)
        return examine(cell, directory)
    except Exception as problem:  # a damaged file may raise anything
        why = f"{run}: the cell {cell.id} cannot be judged again: {type(problem).__name__}: {problem}"
        if cell.status == "completed":
            raise BadInput(why) from problem
        return cell if why in cell.error else cell.model_copy(update={"error": f"{cell.error}; {why}"})
