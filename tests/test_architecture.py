"""The layers hold: what may import what is written in pyproject.toml and checked here."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
INTERFACE = {"brokers.types", "brokers.protocols", "brokers.declarations", "brokers.errors"}


def test_imports_go_one_way() -> None:
    checker = Path(sys.executable).with_name("lint-imports")
    done = subprocess.run([str(checker)], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("layer", ["scenarios", "reports"])
def test_only_the_interface_is_imported_from_brokers(layer: str) -> None:
    for path in sorted((ROOT / layer).rglob("*.py")):
        for name in imported(path):
            assert not name.startswith("brokers") or name in INTERFACE, f"{path.relative_to(ROOT)} imports {name}"


def imported(path: Path) -> list[str]:
    names = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.append(node.module)
    return names


@pytest.mark.parametrize("directory", ["brokers", "scenarios", "reports", "bench"])
def test_no_module_has_grown_into_two(directory: str) -> None:
    for path in sorted((ROOT / directory).rglob("*.py")):
        lines = len(path.read_text(encoding="utf-8").splitlines())
        assert lines <= 400, f"{path.relative_to(ROOT)} has {lines} lines: it is two rooms"
