"""Progress of a run: bars on a terminal, plain lines elsewhere, nothing when quiet."""

from __future__ import annotations

import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol, Self

from rich.console import Console, Group
from rich.live import Live
from rich.progress import BarColumn, Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Column

from brokerbench.reports import words
from brokerbench.scenarios.results import Cell


@dataclass(frozen=True, slots=True)
class Expected:
    """A planned cell and its rough duration; ``alone`` means that no other cell runs beside it."""

    id: str
    length_s: float
    alone: bool


class Watcher(Protocol):
    """Called from several threads; must not block."""

    def say(self, text: str) -> None: ...

    def planned(self, cells: Sequence[Expected]) -> None: ...

    def began(self, cell_id: str) -> None: ...

    def moved(self, cell_id: str, share: float, doing: str) -> None: ...

    def ended(self, cell: Cell) -> None: ...


class Quiet:
    """Says nothing."""

    def say(self, text: str) -> None: ...

    def planned(self, cells: Sequence[Expected]) -> None: ...

    def began(self, cell_id: str) -> None: ...

    def moved(self, cell_id: str, share: float, doing: str) -> None: ...

    def ended(self, cell: Cell) -> None: ...


class Plain:
    """One line an event, on standard error, without colour or movement: for logs and CI.

    As a context manager, it also prints the state of every running cell after each ``silence_s`` without an event.
    """

    def __init__(self, silence_s: float = 60.0) -> None:
        self._begin = self._said = time.monotonic()
        self._silence_s = silence_s
        self._left: set[str] = set()
        self._doing: dict[str, str] = {}
        self._over = threading.Event()

    def __enter__(self) -> Self:
        threading.Thread(target=self._remind, name="progress", daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()

    def say(self, text: str) -> None:
        self._said = time.monotonic()
        print(f"[{self._said - self._begin:6.1f} s] {text}", file=sys.stderr, flush=True)

    def planned(self, cells: Sequence[Expected]) -> None:
        self._left = {cell.id for cell in cells}
        self.say(f"{_cells(len(cells))} to run")

    def began(self, cell_id: str) -> None:
        self._doing[cell_id] = "starting"
        self.say(f"{cell_id}: begins")

    def moved(self, cell_id: str, share: float, doing: str) -> None:
        if cell_id in self._doing:
            self._doing[cell_id] = f"{share:.0%}, {doing}"

    def ended(self, cell: Cell) -> None:
        self._left.discard(cell.id)
        self._doing.pop(cell.id, None)
        self.say(f"{cell.id}: {summary(cell)}; {_cells(len(self._left))} left")

    def _remind(self) -> None:
        while not self._over.wait(max(self._silence_s / 10, self._said + self._silence_s - time.monotonic())):
            if time.monotonic() >= self._said + self._silence_s:
                for cell_id, doing in list(self._doing.items()):
                    self.say(f"{cell_id}: {doing}")


class Bars:
    """A bar for each running cell, and one for the whole with the time left. Use as a context manager."""

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
        self._expected: Sequence[Expected] = ()
        self._shares: dict[str, float] = {}
        self._rows: dict[str, TaskID] = {}
        self._task = self._whole.add_task("starting engines", total=1.0, left="")
        self._begin = time.monotonic()

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._live.stop()

    def say(self, text: str) -> None:
        self._console.print(f"[dim]{text}")

    def planned(self, cells: Sequence[Expected]) -> None:
        with self._lock:
            self._expected = cells
            self._begin = time.monotonic()
            self._whole.update(self._task, description=_cells(len(cells)))

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
        done, left_s = estimate(self._expected, self._shares, time.monotonic() - self._begin)
        self._whole.update(self._task, completed=done, left=f"about {left_s:.0f} s left" if done < 1.0 else "")


@contextmanager
def one_bar(quiet: bool) -> Iterator[Callable[[float, str], None]]:
    """A callback for one long task, given its share (0 to 1) and step: a bar on a terminal, else a line each tenth."""
    if quiet:
        yield lambda share, doing: None
    elif sys.stderr.isatty():
        columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.percentage:3.0f} %"))
        with Progress(*columns, TimeElapsedColumn(), console=Console(stderr=True), transient=True) as bar:
            task = bar.add_task("", total=1.0)
            yield lambda share, doing: bar.update(task, completed=share, description=doing)
    else:
        plain, said = Plain(), 0

        def say(share: float, doing: str) -> None:
            nonlocal said
            if int(share * 10) > said:
                said = int(share * 10)
                plain.say(f"{share:4.0%}  {doing}")

        yield say


def estimate(cells: Sequence[Expected], shares: Mapping[str, float], elapsed_s: float) -> tuple[float, float]:
    """The share of the time that is over (0 to 1), and the seconds left.

    Cells that run side by side take as long as the longest of them; ``shares``: progress of each cell.
    """

    def length_s(far: Mapping[str, float]) -> float:
        rest = [(cell.alone, cell.length_s * (1.0 - far.get(cell.id, 0.0))) for cell in cells]
        together = max((seconds for alone, seconds in rest if not alone), default=0.0)
        return together + sum(seconds for alone, seconds in rest if alone)

    whole, left = length_s({}), length_s(shares)
    done = 1.0 - left / whole if whole else 1.0
    # The longer it runs, the more its own pace counts against the expected one.
    pace = elapsed_s / (whole - left) if done > 0.02 else 1.0
    return done, left * (pace * done + 1.0 - done)


def summary(cell: Cell) -> str:
    """One line about an ended cell."""
    if cell.status == "failed":
        return f"failed after {cell.duration_s:.1f} s: {cell.failure}"
    counts = Counter(row.verdict.value for row in cell.verdicts)
    verdicts = ", ".join(f"{count} {name}" for name, count in sorted(counts.items()))
    more = [cell.disturbed, words.not_acknowledged(cell.sends), *_left_out(cell)]
    return "; ".join([f"{verdicts or 'no verdicts'} in {cell.duration_s:.1f} s", *filter(None, more)])


def _left_out(cell: Cell) -> list[str]:
    """What its figures do not show: parts left out, messages never sent, windows in doubt, too short a warm-up."""
    unsent = sum(sum(metric.samples) for metric in cell.metrics if metric.name == "unsent")
    doubts = dict.fromkeys(metric.doubt for metric in cell.metrics if metric.doubt)
    found = [f"{unsent:,.0f} due messages were never sent"] if unsent else []
    found += [f"in doubt: {doubt}" for doubt in doubts]
    cold = [metric for metric in cell.metrics if metric.name == "warm_up" and metric.labels.get("steady") == "no"]
    found += [f"left out: {parts}"] if (parts := words.left_out(cell)) else []
    return [*found, *(f"warmed up for {sum(metric.samples):g} s, and not steady" for metric in cold)]


def _cells(count: int) -> str:
    return "1 cell" if count == 1 else f"{count} cells"
