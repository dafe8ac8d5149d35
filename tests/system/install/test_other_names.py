"""Names of other people do not meet ours: not in a project's own packages, nor in the working directory."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import pytest

from tests.system.install.conftest import BIN, ROOT, done, imported_in

COMMANDS = {
    "program": [BIN / "brokerbench"],
    "module": [sys.executable, "-m", "brokerbench"],
    "safe module": [sys.executable, "-P", "-m", "brokerbench"],
}
REPLAY = ["run", "--profile", "memory", "--scenario", "replay", "--quiet", "--out", "out"]
SPEEDS = """
name: speeds
cells:
  - scenario: throughput
    parameters: {batches: [100], repeats: 1, window_s: 200 ms, warmup_s: 50 ms, ceiling_s: 50 ms}
"""
TEST = """
import bench, brokers, reports, scenarios

def test_all_are_this_project_s(channel, broker):
    assert [bench.OWNER, brokers.OWNER, reports.OWNER, scenarios.OWNER] == ["project"] * 4
    broker.producer(channel, "p").close()
"""


@pytest.mark.parametrize("command", COMMANDS)
def test_nothing_is_imported_from_the_working_directory(crowded: Path, command: str) -> None:
    ran = done([*COMMANDS[command], *REPLAY], crowded)
    assert ran.returncode == 0, ran.stderr
    assert not imported_in(crowded)


@pytest.mark.engine
@pytest.mark.parametrize("command", COMMANDS)
def test_guard_cell_and_load_processes_import_nothing_from_it(crowded: Path, command: str) -> None:
    (crowded / "plan.yaml").write_text(SPEEDS, encoding="utf-8")
    words = ["run", "plan.yaml", "--profile", "redis-streams", "--engine", "native", "--quiet", "--out", "out"]
    ran = done([*COMMANDS[command], *words], crowded)
    assert ran.returncode == 0, ran.stderr
    assert not imported_in(crowded)


@pytest.mark.parametrize("command", [[BIN / "pytest"], [sys.executable, "-m", "pytest"]], ids=["pytest", "python -m"])
def test_a_project_s_tests_import_its_own_packages(tmp_path: Path, command: list[str | Path]) -> None:
    for package in ("bench", "brokers", "reports", "scenarios"):
        (tmp_path / package).mkdir()
        (tmp_path / package / "__init__.py").write_text('OWNER = "project"\n', encoding="utf-8")
    (tmp_path / "conftest.py").write_text('pytest_plugins = ["brokerbench.bench.pytest_fixtures"]\n', encoding="utf-8")
    (tmp_path / "test_own.py").write_text(TEST, encoding="utf-8")
    (tmp_path / "pytest.ini").write_text("[pytest]\n", encoding="utf-8")
    ran = done([*command, "-q", "--profile", "memory"], tmp_path)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "1 passed" in ran.stdout


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A directory with another copy of the package, as ``src/`` of another checkout is."""
    nothing = shutil.ignore_patterns("__pycache__")
    shutil.copytree(ROOT / "src" / "brokerbench", tmp_path / "src" / "brokerbench", ignore=nothing)
    return tmp_path / "src"


def test_another_checkout_in_the_working_directory_is_not_measured(checkout: Path) -> None:
    for module in ("bench/run/cell.py", "brokers/memory/broker.py"):
        (checkout / "brokerbench" / module).write_text("raise AssertionError('other code')\n", encoding="utf-8")
    ran = done([BIN / "brokerbench", *REPLAY], checkout)
    assert ran.returncode == 0, ran.stderr


def test_children_refuse_other_code_than_their_parent_s(checkout: Path) -> None:
    # ``python -m`` finds the package in the working directory; children, isolated from it, find the installed one.
    ran = done([sys.executable, "-m", "brokerbench", *REPLAY], checkout)
    assert ran.returncode == 2
    assert ran.stderr.splitlines() == [
        f"brokerbench: a child process found the code in {ROOT / 'bench'}, "
        f"its parent runs {checkout / 'brokerbench' / 'bench'}; check PYTHONPATH"
    ]


def test_a_relative_python_path_is_refused_too(checkout: Path) -> None:
    # The guard works in "/", where it leads nowhere.
    ran = done([BIN / "brokerbench", *REPLAY], checkout.parent, {"PYTHONPATH": "src"})
    assert ran.returncode == 2
    assert ran.stderr.count("\n") == 1
    assert "check PYTHONPATH" in ran.stderr
