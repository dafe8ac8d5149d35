"""Histories of cells, as columns on disk: written by clients and load processes, read back to be judged."""

from brokerbench.scenarios.history.history import (
    SCHEMAS,
    Action,
    Column,
    Columns,
    History,
    Mark,
    Writer,
    select,
    strongest,
)

__all__ = ["SCHEMAS", "Action", "Column", "Columns", "History", "Mark", "Writer", "select", "strongest"]
