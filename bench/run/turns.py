"""Cells that measure speed take turns; they are examined when all have measured."""

from __future__ import annotations

import os
import threading


class Turns:
    """One cell runs at a time; when all have run, they are examined, one a core at once."""

    def __init__(self, cells: int) -> None:
        self._left = cells
        self._running = threading.Lock()
        self._counting = threading.Lock()
        self._all_ran = threading.Event()
        self._examining = threading.Semaphore(os.cpu_count() or 1)

    def next(self) -> Turn:
        """Wait for the turn to measure."""
        self._running.acquire()
        return Turn(self)

    def _ran(self) -> None:
        with self._counting:
            self._left -= 1
            if self._left == 0:
                self._all_ran.set()
        self._running.release()


class Turn:
    """One cell's turn. Always ``end`` it: a cell that fails before ``ran`` must not hold up the others."""

    def __init__(self, turns: Turns) -> None:
        self._turns = turns
        self._has_run = self._examines = False

    def ran(self) -> None:
        """The experiment is over: let the next one measure, and wait until this one may be examined."""
        self._has_run = True
        self._turns._ran()
        self._turns._all_ran.wait()
        self._turns._examining.acquire()
        self._examines = True

    def end(self) -> None:
        if not self._has_run:
            self._turns._ran()
        if self._examines:
            self._turns._examining.release()
