"""Runs checks side by side, those that stop the broker last and alone; one that hangs fails, and the rest goes on."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Thread
from traceback import extract_tb

from brokerbench.bench.conformance.model import Check, Context, Result, Skipped, Status, Violated

THREADS = 6
"""Number of checks at once; they mostly wait, for leases and for groups to form."""
PATIENCE_S = 120.0
"""Longest time of one check."""


def run(
    context: Context,
    checks: Sequence[Check],
    *,
    threads: int = THREADS,
    done: Callable[[Result], None] = lambda _: None,
) -> list[Result]:
    """One result a check, in the order of ``checks``; ``done`` is called with each as it ends."""

    def one(check: Check) -> Result:
        result = _attempt(context, check)
        done(result)
        return result

    with ThreadPoolExecutor(threads, "conformance") as pool:
        results = {check.name: pool.submit(one, check) for check in checks if not check.disruptive}
        found = {name: future.result() for name, future in results.items()}
    found |= {check.name: one(check) for check in checks if check.disruptive}
    return [found[check.name] for check in checks]


def _attempt(context: Context, check: Check) -> Result:
    """Run the check in a thread that can be left behind: an adapter that hangs must not hang the kit."""
    ended: list[tuple[Status, str]] = []
    thread = Thread(target=lambda: ended.append(_outcome(context, check)), name=check.name, daemon=True)
    begun = time.monotonic()
    thread.start()
    thread.join(PATIENCE_S)
    status, detail = ended[0] if ended else (Status.FAILED, f"did not end within {PATIENCE_S:g} s")
    return Result(check.name, check.sentence, status, detail, time.monotonic() - begun)


def _outcome(context: Context, check: Check) -> tuple[Status, str]:
    try:
        skipped = check.function(context)
    except Violated as violation:
        return Status.FAILED, str(violation)
    except Exception as error:  # an adapter may raise anything
        frame = extract_tb(error.__traceback__)[-1]
        where = f"{Path(frame.filename).name}:{frame.lineno}"
        return Status.FAILED, f"{type(error).__name__}: {error} (raised at {where})"
    return (Status.SKIPPED, skipped.reason) if isinstance(skipped, Skipped) else (Status.PASSED, "")
