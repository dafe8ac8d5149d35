"""The command as a process of its own, and in this process where that is enough."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from brokerbench.bench import cli

PLAN = """\
name: small
profiles: [memory]
cells:
  - scenario: replay
    parameters: {messages: 200}
"""


@dataclass(frozen=True, slots=True)
class Ended:
    code: int
    out: str
    err: str


Call = Callable[..., Ended]


@pytest.fixture
def call(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Iterator[Call]:
    """``call("run", "--out", path)`` in this process: fast. Leaves the signal handlers as they were."""
    before = {sig: signal.getsignal(sig) for sig in (signal.SIGINT, signal.SIGTERM)}

    def run(*words: str | Path) -> Ended:
        monkeypatch.setattr(sys, "argv", ["brokerbench", *map(str, words)])
        capfd.readouterr()
        try:
            cli.main()
            code: int | str | None = 0
        except SystemExit as end:
            code = end.code
        out, err = capfd.readouterr()
        assert isinstance(code, int) or code is None
        assert "Traceback" not in out + err
        return Ended(code or 0, out, err)

    yield run
    for sig, handler in before.items():
        signal.signal(sig, handler)


@pytest.fixture
def plan(tmp_path: Path) -> Path:
    """One short cell that needs no engine."""
    path = tmp_path / "small.yaml"
    path.write_text(PLAN, encoding="utf-8")
    return path
