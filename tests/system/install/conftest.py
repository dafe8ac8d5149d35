"""Directories and environments of other people, beside or around brokerbench."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
BIN = Path(sys.executable).parent
_CODE = "open(__file__ + '.imported', 'w').close()\n"
_NO_SOURCE = shutil.ignore_patterns(
    "__pycache__", ".*", "runs", "mutants", "build", "dist", "*.egg-info", "tests", "docs"
)


def done(
    words: Sequence[str | Path], cwd: Path, extra: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run a command that reads nothing."""
    return subprocess.run(
        [str(word) for word in words],
        cwd=cwd,
        env={**os.environ, **(extra or {})},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=240,
    )


@pytest.fixture
def crowded(tmp_path: Path) -> Path:
    """A directory whose modules have names that we or our libraries import; each leaves a file when it is imported."""
    for module in ("queue", "redis", "re", "socket", "numpy"):
        (tmp_path / f"{module}.py").write_text(_CODE, encoding="utf-8")
    for package in ("brokers", "scenarios", "reports", "bench", "pydantic"):
        (tmp_path / package).mkdir()
        (tmp_path / package / "__init__.py").write_text(_CODE, encoding="utf-8")
    return tmp_path


def imported_in(directory: Path) -> list[Path]:
    return sorted(directory.rglob("*.imported"))


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built as a release is: first the source distribution, then the wheel from that alone."""
    directory = tmp_path_factory.mktemp("wheel")
    shutil.copytree(ROOT, directory / "source", symlinks=True, ignore=_NO_SOURCE)
    build = [BIN / "uv", "build", "--quiet", "--offline", "--no-build-isolation", "--python", sys.executable]
    built = done([*build, "--out-dir", directory / "dist", directory / "source"], directory)
    assert built.returncode == 0, built.stderr
    (found,) = (directory / "dist").glob("*.whl")
    return found


@pytest.fixture(scope="session")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Programs of an environment that has brokerbench from the wheel, inside another project's checkout.

    Its libraries are those of this environment. Only a plain path in a .pth file: what makes this environment's
    brokerbench editable is not followed.
    """
    project = tmp_path_factory.mktemp("installed")
    assert done(["git", "init", "--quiet"], project).returncode == 0
    assert done([sys.executable, "-m", "venv", "--without-pip", ".venv"], project).returncode == 0
    python = project / ".venv" / "bin" / "python"
    (site,) = (project / ".venv" / "lib").glob("*/site-packages")
    libraries = Path(pytest.__file__).parents[1]
    (site / "libraries.pth").write_text(f"{libraries}\n", encoding="utf-8")
    install = [BIN / "uv", "pip", "install", "--quiet", "--offline", "--no-deps", "--compile-bytecode"]
    added = done([*install, "--python", python, wheel], project)
    assert added.returncode == 0, added.stderr
    return python.parent
