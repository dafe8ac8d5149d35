"""``brokerbench compare``: reads both sides, judges them, writes the files asked for."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from brokerbench.bench import store
from brokerbench.bench.errors import BadInput
from brokerbench.reports import compare as rendering
from brokerbench.scenarios.compare import comparability, regression, rounds
from brokerbench.scenarios.compare.comparability import Incomparable
from brokerbench.scenarios.compare.regression import Regression
from brokerbench.scenarios.compare.rounds import Round

_SHARE = re.compile(r"\s*([0-9]+(?:\.[0-9]+)?)\s*(%?)\s*")


def compare(base: Path, head: Path, minimum_effect: str, noise: Path | None) -> Regression:
    """Raises BadInput with every reason when the sides cannot be read or compared."""
    effect = share("--minimum-effect", minimum_effect)
    before, after = load(base), load(head)
    try:
        equal = None
        if noise is not None:
            series = regression.repeats(before).values()
            count = max((len(samples) for _, samples in series), default=0)
            recorded = load(noise)
            comparability.refuse_unlike(before[:1], recorded)
            equal = regression.measured_noise(recorded, max(count, regression.FEWEST))
        return regression.judge(before, after, minimum_effect=effect, noise=equal)
    except Incomparable as problem:
        raise BadInput("cannot be compared: " + "; ".join(problem.reasons)) from None


def share(option: str, text: str) -> float:
    """``"5 %"`` or ``"0.05"``. Raises BadInput."""
    match = _SHARE.fullmatch(text)
    if match is None:
        raise BadInput(f"{option} {text!r}: must be a share such as '5 %' or 0.05")
    number, percent = match.groups()
    value = float(number) / (100 if percent else 1)
    if value >= 1:
        raise BadInput(f"{option} {text!r}: must be below 100 %; a share of five in a hundred is '5 %' or 0.05")
    return value


def load(path: Path) -> list[Round]:
    """The rounds of one side: a run, a file of pytest-benchmark, or a directory of several. Raises BadInput."""
    if not path.is_dir() or (path / store.RESULT).exists():
        return [_one(path)]
    found = [entry for entry in sorted(path.iterdir()) if entry.suffix == ".json" or (entry / store.RESULT).exists()]
    if not found:
        raise BadInput(f"{path}: neither a run nor a directory of runs or of pytest-benchmark's JSON files")
    return [_one(entry) for entry in found]


def _one(path: Path) -> Round:
    if path.is_dir() or path.name == store.RESULT:
        return rounds.of_run(store.load(path), str(path))
    try:
        return rounds.of_benchmarks(path.read_bytes(), str(path))
    except OSError as problem:
        raise BadInput(f"{path}: cannot be read: {problem.strerror}") from None
    except ValueError as problem:
        raise BadInput(str(problem)) from None


def write(found: Regression, markdown: Path | None, junit: Path | None) -> Sequence[Path]:
    """Write the files that are wanted. Raises BadInput that names the option."""
    for option, path, render in (("--markdown", markdown, rendering.markdown), ("--junit", junit, rendering.junit)):
        if path is not None:
            store.write_named(option, path, render(found))
    return [path for path in (markdown, junit) if path is not None]
