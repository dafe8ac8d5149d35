"""Who is told how a run goes on: bars on a terminal, plain lines elsewhere, nothing when quiet."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Sequence
from types import TracebackType
from typing import Protocol, Self

from rich.console import Console, Group
from rich.live import Live
from rich.progress import BarColumn, Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Column

from scenarios.results import Cell


class Watcher(Protocol):
    """Told from several threads; must not block."""

    def say(self, text: str) -> None: ...

    def planned(self, cells: Sequence[tuple[str, float]]) -> None:
        """All cells to come: (id, expected seconds)."""
        ...

    def began(self, cell_id: str) -> None: ...

    def moved(self, cell_id: str, share: float, doing: str) -> None: ...

    def ended(self, cell: Cell) -> None: ...


class Quiet:
    """Says nothing."""

    def say(self, text: str) -> None: ...

    def planned(self, cells: Sequence[tuple[str, float]]) -> None: ...

    def began(self, cell_id: str) -> None: ...

    def moved(self, cell_id: str, share: float, doing: str) -> None: ...

    def ended(self, cell: Cell) -> None: ...


class Plain:
    """One line an event, on standard error, without colour or movement: for logs and CI."""

    def __init__(self) -> None:
        self._begin = time.monotonic()
        self._left: set[str] = set()

    def say(self, text: str) -> None:
        print(f"[{time.monotonic() - self._begin:6.1f} s] {text}", file=sys.stderr, flush=True)

    def planned(self, cells: Sequence[tuple[str, float]]) -> None:
        self._left = {cell_id for cell_id, _ in cells}
        self.say(f"{len(cells)} cells to run")

    def began(self, cell_id: str) -> None:
        self.say(f"{cell_id}: begins")

    def moved(self, cell_id: str, share: float, doing: str) -> None: ...

    def ended(self, cell: Cell) -> None:
        self._left.discard(cell.id)
        self.say(f"{cell.id}: {summary(cell)}; {len(self._left)} cells left")


class Bars:
    """A bar a running cell, one for the whole with the time left. Use as a context manager."""

    def __init__(self) -> None:
        self._console = Console(stderr=True)
        text = Column(ratio=1, no_wrap=True)
        self._whole = Progress(
            SpinnerColumn(),
            TextColumn("[bold]{task.description}"),
            BarColumn(),
            TextColumn("{task.percentage:3.0f} %"),
            TimeElapsedColumn(),
            TextColumn("{task.fields[left]}"),
            console=self._console,
        )
        self._cells = Progress(
            TextColumn("  {task.description}"),
            BarColumn(bar_width=20),
            TextColumn("[dim]{task.fields[doing]}", table_column=text),
            console=self._console,
            expand=True,
        )
        self._live = Live(Group(self._whole, self._cells), console=self._console, refresh_per_second=8)
        self._lock = threading.Lock()
        self._expected: dict[str, float] = {}
        self._shares: dict[str, float] = {}
        self._rows: dict[str, TaskID] = {}
        self._task = self._whole.add_task("starting engines", total=1.0, left="")
        self._begin = time.monotonic()

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._live.stop()

    def say(self, text: str) -> None:
        self._console.print(f"[dim]{text}")

    def planned(self, cells: Sequence[tuple[str, float]]) -> None:
        with self._lock:
            self._expected = dict(cells)
            self._begin = time.monotonic()
            self._whole.update(self._task, description=f"{len(cells)} cells")

    def began(self, cell_id: str) -> None:
        with self._lock:
            self._rows[cell_id] = self._cells.add_task(f"{cell_id:<28}", total=1.0, doing="starting")

    def moved(self, cell_id: str, share: float, doing: str) -> None:
        with self._lock:
            self._shares[cell_id] = min(share, 1.0)
            if cell_id in self._rows:
                self._cells.update(self._rows[cell_id], completed=share, doing=doing)
            self._advance()

    def ended(self, cell: Cell) -> None:
        with self._lock:
            self._shares[cell.id] = 1.0
            if cell.id in self._rows:
                self._cells.remove_task(self._rows.pop(cell.id))
            mark = "[green]ok[/]" if cell.status == "completed" else "[red]failed[/]"
            self._console.print(f"{mark} {cell.id}: {summary(cell)}", highlight=False)
            self._advance()

    def _advance(self) -> None:
        whole = sum(self._expected.values()) or 1.0
        done = sum(self._expected.get(cell_id, 0.0) * share for cell_id, share in self._shares.items()) / whole
        elapsed = time.monotonic() - self._begin
        left = f"about {elapsed / done * (1 - done):.0f} s left" if 0.02 < done < 1.0 else ""
        self._whole.update(self._task, completed=done, left=left)


def summary(cell: Cell) -> str:
    """One line about an ended cell."""
    if cell.status == "failed":
        return f"failed after {cell.duration_s:.1f} s: {cell.error}"
    counts: dict[str, int] = {}
    for row in cell.verdicts:
        counts[row.verdict.value] = counts.get(row.verdict.value, 0) + 1
    verdicts = ", ".join(f"{count} {name}" for name, count in sorted(counts.items()))
    return f"{verdicts or 'no verdicts'} in {cell.duration_s:.1f} s"
