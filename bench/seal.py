"""The seal of a cell's evidence: a digest of each file of its history, and of the declaration that it is judged by.

A seal (``history.json``) is written when the experiment has ended. It also holds a digest of itself, so that damage
of the seal is not blamed on the files. Former seals hold the sizes of the history's files alone.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import Any

from brokerbench.bench import store

_NAME = "history.json"


class Strength(StrEnum):
    """The kind of change that a seal shows."""

    DIGESTS = "digests"
    SIZES = "sizes"


def write(directory: Path) -> None:
    """Seal the history and the declaration of a cell."""
    files = {_relative(directory, path): _digest(path) for path in (*_history(directory), store.declaration(directory))}
    store.write_text(directory / _NAME, _text(files))


def exists(directory: Path) -> bool:
    """Whether a cell's experiment came to its end, so that its history can be judged."""
    return (directory / _NAME).exists()


def judging_hint(directory: Path) -> str:
    """An addition to the error of a cell that ended early, if its history is whole."""
    return "; its history is whole, and `brokerbench analyse` judges it" if exists(directory) else ""


def check(directory: Path) -> Strength:
    """Raises ValueError that names the first file that is missing, new, or differs from what the run wrote."""
    seal = directory / _NAME
    strength, known = _read(seal)
    found = {_relative(directory, path) for path in _history(directory)}
    found |= {name for name in known if (directory / name).is_file()}
    for name in sorted(known.keys() | found):
        path = directory / name
        if name not in found:
            raise ValueError(f"{path} is missing")
        if name not in known or known[name] != (path.stat().st_size if strength is Strength.SIZES else _digest(path)):
            raise ValueError(f"{path} is not what the run wrote")
    return strength


def _read(seal: Path) -> tuple[Strength, Mapping[str, str | int]]:
    """The size or digest of each file by its path below the cell's directory."""
    try:
        text = seal.read_bytes().decode("utf-8")
        content: Any = json.loads(text)
    except FileNotFoundError:
        raise ValueError(f"{seal} is missing: the experiment did not end, or the file was removed") from None
    except ValueError as error:
        raise ValueError(f"damaged seal {seal}: {error}") from None
    if not isinstance(content, dict):
        raise ValueError(f"damaged seal {seal}: it lists no files")
    files = content.get("files")
    if isinstance(files, dict) and text == _text(files):
        return Strength.DIGESTS, files
    if "files" not in content and all(isinstance(size, int) for size in content.values()):
        return Strength.SIZES, {f"history/{name}": size for name, size in content.items()}
    raise ValueError(f"damaged seal {seal}: it is not as brokerbench writes it")


def _text(files: Mapping[str, Any]) -> str:
    listed = json.dumps(files, sort_keys=True)
    own = hashlib.sha256(listed.encode()).hexdigest()
    return json.dumps({"files": files, "sha256": own}, indent=1, sort_keys=True) + "\n"


def _history(directory: Path) -> list[Path]:
    return sorted((directory / "history").glob("*"))


def _relative(directory: Path, path: Path) -> str:
    return path.relative_to(directory).as_posix()


def _digest(path: Path) -> str:
    """Raises ValueError for a file that cannot be read."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise ValueError(f"{path} cannot be read: {error.strerror}") from None
