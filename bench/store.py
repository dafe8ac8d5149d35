"""A run's files. One directory a run; a cell is written the moment it ends.

::

    <run>/result.json                  the whole, rewritten after each cell
    <run>/cells/<cell>/cell.json       one cell's result
    <run>/cells/<cell>/declaration.json  what the profile promised when it ran
    <run>/cells/<cell>/history/        what happened (scenarios/history/history.py)
    <run>/cells/<cell>/history.json    the seal of history and declaration (bench/seal.py)
    <run>/logs/                        engines' and cells' logs
"""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import shutil
import tempfile
import traceback
from datetime import UTC, datetime
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from brokerbench.bench.errors import BadInput
from brokerbench.brokers import names
from brokerbench.brokers.declarations import ProfileDeclaration
from brokerbench.scenarios import results
from brokerbench.scenarios.results import Cell, ResultError, RunResult

RESULT = "result.json"
LOGS = "logs"
_DECLARATION = TypeAdapter(ProfileDeclaration)


def new_run_id(now: datetime) -> str:
    """Sorts by time; unique among runs that start in the same second."""
    return f"{now.astimezone(UTC):%Y%m%d-%H%M%S}-{secrets.token_hex(2)}"


def create(directory: Path) -> Path:
    """Make a directory for a run. Raises BadInput for one that holds something already.

    The logs of a run that measured nothing (``discard_empty_run``) may be there: new ones are appended.
    """
    if directory.exists() and not directory.is_dir():
        raise BadInput(f"--out {directory}: this is a file; name a new directory")
    try:
        directory.mkdir(parents=True, exist_ok=True)
        if {entry.name for entry in directory.iterdir()} - {LOGS}:
            raise BadInput(f"--out {directory}: the directory is not empty; name a new one")
        (directory / "cells").mkdir()
        (directory / LOGS).mkdir(exist_ok=True)
    except OSError as error:
        raise BadInput(f"--out {directory}: cannot be used: {error.strerror}") from None
    return directory


def discard_empty_run(run: Path, keep_logs: bool) -> Path | None:
    """Remove the files of a run without a result, so that its directory can be used again.

    With ``keep_logs``, logs that are not empty stay, and their directory is returned.
    """
    logs = run / LOGS
    shutil.rmtree(run / "cells", ignore_errors=True)
    for log in logs.glob("*"):
        if not keep_logs or not log.stat().st_size:
            log.unlink()
    with contextlib.suppress(OSError):  # not empty: it stays
        logs.rmdir()
        run.rmdir()
    return logs if logs.exists() else None


def log_traceback(run: Path) -> Path:
    """Write the exception that is being handled to a log, whose path is returned."""
    log = run / LOGS / "brokerbench.log"
    with contextlib.suppress(OSError):
        log.write_text(traceback.format_exc(), encoding="utf-8")
    return log


def cell_directory(run: Path, cell_id: str) -> Path:
    return run / "cells" / names.check(cell_id)


def write_text(path: Path, text: str) -> None:
    """Write the whole file or nothing: no reader sees half a file, and a full disk leaves none."""
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as stream:
            stream.write(text)
            stream.flush()
            os.fsync(stream.fileno())
        Path(temporary).chmod(0o644)
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def write_named(option: str, path: Path, text: str) -> None:
    """Write a file that an option of the command line names. Raises BadInput that names both."""
    try:
        write_text(path, text)
    except OSError as problem:
        raise BadInput(f"{option}: {path} cannot be written: {problem.strerror}") from problem


def save(run: Path, result: RunResult) -> None:
    write_text(run / RESULT, results.dump(result))


def load(run: Path) -> RunResult:
    """Read a run, given its directory or its result.json. Raises BadInput that names the file."""
    path = run / RESULT if run.is_dir() else run
    try:
        return results.read(path)
    except ResultError as error:
        raise BadInput(str(error)) from None


def directory_of(run: Path) -> Path:
    """A run's directory, given that or its result.json."""
    return run.parent if run.is_file() else run


def save_cell(run: Path, cell: Cell) -> None:
    write_text(cell_directory(run, cell.id) / "cell.json", cell.model_dump_json(indent=1) + "\n")


def load_cell(run: Path, cell_id: str) -> Cell:
    return Cell.model_validate_json((cell_directory(run, cell_id) / "cell.json").read_bytes())


def declaration(directory: Path) -> Path:
    return directory / "declaration.json"


def save_declaration(directory: Path, promised: ProfileDeclaration) -> None:
    write_text(declaration(directory), _DECLARATION.dump_json(promised, indent=1).decode() + "\n")


def load_declaration(directory: Path) -> ProfileDeclaration:
    """Raises ValueError that names a missing or damaged file."""
    path = declaration(directory)
    try:
        return _DECLARATION.validate_json(path.read_bytes())
    except FileNotFoundError:
        raise ValueError(f"{path} is missing") from None
    except ValidationError as error:
        raise ValueError(f"{path}: {error.errors()[0]['msg']}") from None


def is_full(error: BaseException) -> bool:
    """The disk is full, or a quota is used up."""
    return isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)
