"""What the bench says when it cannot go on. Each carries the exit code of the command line.

::

    BenchError
    ├── CheckFailed          1: a verdict is refuted, a cell failed, or a check does not hold
    ├── BadInput             2: something that a person wrote, named or set is wrong
    └── EngineUnavailable    3: a broker cannot be had here; the message says what mends it
    Interrupted            130: Ctrl-C or SIGTERM; no ``Exception``, so that nothing on the way swallows it
"""

from __future__ import annotations

from typing import ClassVar


class BenchError(Exception):
    """One clear message that says what to do."""

    exit_code: ClassVar[int] = 1


class CheckFailed(BenchError):
    exit_code: ClassVar[int] = 1


class BadInput(BenchError):
    exit_code: ClassVar[int] = 2


class EngineUnavailable(BenchError):
    exit_code: ClassVar[int] = 3


class Interrupted(BaseException):
    """The message says what became of what was measured."""

    exit_code: ClassVar[int] = 130
