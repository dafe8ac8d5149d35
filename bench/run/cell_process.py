"""A cell's process as the runner sees it: started under the guard, followed by its events, killed when late."""

from __future__ import annotations

import json
import subprocess
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from brokerbench.bench import children
from brokerbench.bench.engines.base import tail
from brokerbench.bench.guard import Guard
from brokerbench.bench.run.cell import CellJob


class CellProcess:
    """One running cell."""

    def __init__(self, process: subprocess.Popen[str], log: Path, kill_group: Callable[[], None]) -> None:
        self._process, self._log, self._kill_group = process, log, kill_group
        self._late = False

    @staticmethod
    def start(job: CellJob, guard: Guard, logs: Path) -> CellProcess:
        """The job goes through standard input: endpoints may carry secrets."""
        log = logs / f"{job.id}.log"
        process = guard.spawn_piped(children.command("bench.run.cell"), log_path=log)
        assert process.stdin is not None
        try:
            process.stdin.write(job.to_json() + "\n")
            process.stdin.flush()
        except BrokenPipeError:
            pass  # it ended at once: ``follow`` reports why
        return CellProcess(process, log, lambda: guard.kill(process))

    def follow(self, moved: Callable[[float, str], None], ran: Callable[[], None], timeout_s: float) -> str:
        """Pass progress on until the process ends. Returns the error, else "".

        ``ran`` is called when the experiment is over; the history is examined when it returns. Each of the two may take
        ``timeout_s``.
        """
        timer = self._timer(timeout_s)
        ended: dict[str, str] | None = None
        try:
            assert self._process.stdout is not None
            for line in self._process.stdout:
                event = json.loads(line)
                if "progress" in event:
                    moved(event["progress"], event["doing"])
                elif "ran" in event:
                    # Other cells may measure for long before this one is examined.
                    timer.cancel()
                    ran()
                    timer = self._timer(timeout_s)
                    self._tell()
                else:
                    ended = event
            code = self._process.wait()
        finally:
            timer.cancel()
        if ended is not None:
            return ended["error"]
        if self._late:
            return f"the cell took longer than {timeout_s:g} s and was stopped"
        return f"the cell's process ended with code {code} ({tail(self._log, lines=3)})"

    def kill(self) -> None:
        self._kill_group()

    def _tell(self) -> None:
        """Let the process examine its experiment."""
        assert self._process.stdin is not None
        with suppress(BrokenPipeError):  # killed while it waited
            self._process.stdin.write("\n")
            self._process.stdin.flush()

    def _timer(self, timeout_s: float) -> threading.Timer:
        timer = threading.Timer(timeout_s, self._too_late)
        timer.daemon = True
        timer.start()
        return timer

    def _too_late(self) -> None:
        self._late = True
        self.kill()
