"""The documentation names only what exists: paths, modules, classes, commands, targets."""

from __future__ import annotations

import re
import runpy
from collections.abc import Iterator
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

import pytest
import typer.main

from brokerbench.bench import cli

ROOT = Path(__file__).parents[1]
GENERATED = ("decision-record.md", "selftest.md")
PAGES = [
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")),
    *(page for page in sorted((ROOT / "docs").glob("*.md")) if page.name not in GENERATED),
]
ROOMS = "brokers|scenarios|reports|bench"
PATH = re.compile(rf"(?<![\w./-])(?:{ROOMS}|tests|docs|examples|locks|src|\.ci)/[\w./-]*\w")
DOTTED = re.compile(r"\bbrokerbench(?:\.[A-Za-z_]\w*)+")
NO_MODULES = {"brokerbench.engines", "brokerbench.log"}
"""A group of entry points, and a file of a run."""
WITHOUT_ITS_PACKAGE = re.compile(rf"(?<![\w./-])(?:{ROOMS})\.(?!py\b)[a-z_]\w*")
LINK = re.compile(r"\]\(([^)#:]+)(?:#[^)]*)?\)")
NAME = re.compile(r"[A-Z][a-z]+\w*|[A-Z_]{4,}")
FENCE = re.compile(r"^```\w*\n(.*?)^```", re.DOTALL | re.MULTILINE)
SPAN = re.compile(r"`([^`\n]+)`")


@pytest.fixture(params=PAGES, ids=lambda page: page.name)
def page(request: pytest.FixtureRequest) -> Path:
    path: Path = request.param
    return path


def test_paths_exist(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    assert [path for path in PATH.findall(text) if not (ROOT / path).exists()] == []
    assert [link for link in LINK.findall(text) if not (page.parent / link).exists()] == []
    # By name alone, such as `broker.py`: a module of ours or of the example package.
    files = {span for span in _spans(text) if re.fullmatch(r"\w+\.(?:py|toml)", span)}
    assert [name for name in files if name not in _file_names()] == []


def test_modules_and_what_they_hold_exist(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    assert [name for name in set(DOTTED.findall(text)) - NO_MODULES if not _resolves(name)] == []
    assert WITHOUT_ITS_PACKAGE.findall(text) == [], "modules are named brokerbench.…"


def test_commands_and_targets_exist(page: Path) -> None:
    commands = set(typer.main.get_command(cli.app).commands)  # type: ignore[attr-defined]
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    for code in _code(page.read_text(encoding="utf-8")):
        assert set(re.findall(r"(?:^|[ /])brokerbench ([a-z]\w*)", code)) <= commands, code
        assert set(re.findall(r"(?:^|\$ )make ([a-z-]+)", code)) <= targets, code
        for module in re.findall(r"python -m ([\w.]+)", code):
            assert find_spec(module), code


@pytest.mark.parametrize("name", ["docs/architecture.md", "CONTRIBUTING.md"])
def test_classes_and_constants_exist(name: str) -> None:
    named = {span for span in _spans((ROOT / name).read_text(encoding="utf-8")) if NAME.fullmatch(span)}
    assert named - {"PLAN", "RUN", "PROFILE"} <= _defined()


def test_the_picture_shows_rooms_that_exist() -> None:
    script = runpy.run_path(str(ROOT / "docs" / "charts" / "architecture.py"))
    for box in script["BOXES"]:
        named = re.findall(r"\b\w+(?:/|\.py)", " ".join([box.title, *box.lines]))
        beside = (ROOT / box.path, (ROOT / box.path).parent)
        assert [name for name in named if not any((place / name).exists() for place in beside)] == [], box
    assert (ROOT / "docs" / "charts" / "architecture.svg").read_text(encoding="utf-8") == script["svg"](), (
        "draw it again: python docs/charts/architecture.py"
    )


def test_the_licence_is_apache_2() -> None:
    text = (ROOT / "LICENSE").read_text(encoding="utf-8")
    assert "Version 2.0, January 2004" in text and "APPENDIX: How to apply the Apache License to your work." in text


def _code(text: str) -> Iterator[str]:
    for block in FENCE.findall(text):
        yield from block.splitlines()
    yield from re.findall(r"^    \S.*", text, re.MULTILINE)
    yield from _spans(text)


def _spans(text: str) -> list[str]:
    return SPAN.findall(FENCE.sub("", text))


def _resolves(name: str) -> bool:
    parts = name.split(".")
    for length in range(len(parts), 0, -1):
        path = ROOT / "src" / Path(*parts[:length])
        if path.is_dir() or path.with_suffix(".py").is_file():
            rest = parts[length:]
            return not rest or (len(rest) == 1 and hasattr(import_module(".".join(parts[:length])), rest[0]))
    return False


@cache
def _sources() -> list[Path]:
    rooms = (*ROOMS.split("|"), "tests", "examples")
    return [path for room in rooms for path in (ROOT / room).rglob("*.py") if "build" not in path.parts]


@cache
def _file_names() -> set[str]:
    return {path.name for path in [*_sources(), *ROOT.glob("*.toml"), *(ROOT / "tests").rglob("*.toml")]}


@cache
def _defined() -> set[str]:
    found = re.compile(r"^(?:class )?([A-Z]\w*)\b", re.MULTILINE)
    return {name for path in _sources() for name in found.findall(path.read_text(encoding="utf-8"))}
