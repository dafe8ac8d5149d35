"""Child processes that run a module of this package: isolated from the caller's directory, and of the same code.

``-P`` keeps the working directory off the module path, where a stranger's ``queue.py`` or another checkout would be
imported instead. A child that finds other code than its parent, through PYTHONPATH for instance, refuses to run:
otherwise a result would name one revision and measure another.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path

_PACKAGE = "BROKERBENCH_PACKAGE"
_HERE = str(Path(__file__).resolve().parent)
OTHER_CODE = 78
"""Exit code of a child that found other code than its parent's; it has said so."""


def command(module: str, *arguments: str) -> list[str]:
    """Words of a command that runs ``brokerbench.<module>``."""
    return [sys.executable, "-P", "-m", f"brokerbench.{module}", *arguments]


def environment(base: Mapping[str, str] = os.environ) -> dict[str, str]:
    """What a child needs to recognise its parent's code."""
    return {**base, _PACKAGE: _HERE}


def require_same_code() -> None:
    """Ends this process when a parent of other code started it. Started by hand, it has no parent to compare with."""
    expected = os.environ.get(_PACKAGE, _HERE)
    if expected != _HERE:
        print(
            f"brokerbench: a child process found the code in {_HERE}, its parent runs {expected}; check PYTHONPATH",
            file=sys.stderr,
        )
        sys.exit(OTHER_CODE)
