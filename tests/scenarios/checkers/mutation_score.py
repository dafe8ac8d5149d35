"""The score of ``make mutants``: how many weakened checkers make the tests fail, with and without equivalents.

Survivors that no test can tell from the original are listed one by one, with a reason, in
``equivalent_mutants.toml``. An entry there without a survivor is an error, so that the list cannot rot.
Writes the table in docs/mutation.md; exits with 1 below 95 % of all mutants that are not listed.
"""

from __future__ import annotations

import json
import sys
import tomllib
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from mutmut.mutation.diff_apply import get_diff_for_mutant
from mutmut.stats import status_by_exit_code

REQUIRED = 0.95
MUTANTS = Path("mutants/src/brokerbench/scenarios")
EQUIVALENT = Path("tests/scenarios/checkers/equivalent_mutants.toml")
PAGE = Path("docs/mutation.md")
BEGIN, END = "<!-- score -->", "<!-- /score -->"


@dataclass(frozen=True, slots=True)
class Module:
    """The mutants of one module, by their fate."""

    name: str
    statuses: Counter[str]
    survivors: tuple[str, ...]
    """In words, see ``in_words``."""

    @property
    def total(self) -> int:
        return self.statuses.total()

    @property
    def killed(self) -> int:
        """A test failed, or the code went on for so long that it was stopped: the suite fails either way."""
        return self.statuses["killed"] + self.statuses["timeout"]


def in_words(mutant: str) -> str:
    """``module.function: old => new``: holds while the line does, where a number would not."""
    module, _, function = mutant.partition("scenarios.")[2].split("__mutmut_")[0].rpartition(".")
    lines = get_diff_for_mutant(mutant).splitlines()
    changed = [line for line in lines if line[:1] in "+-" and line[:3] not in ("+++", "---")]
    old, new = (" ".join(line[1:].strip() for line in changed if line[0] == sign) for sign in "-+")
    return f"{module.removeprefix('checkers.')}.{function.removeprefix('x_')}: {old} => {new}"


def module(meta: Path) -> Module:
    exit_codes: dict[str, int | None] = json.loads(meta.read_text())["exit_code_by_key"]
    statuses = {mutant: status_by_exit_code[code] for mutant, code in exit_codes.items()}
    survivors = [in_words(mutant) for mutant, status in statuses.items() if status not in ("killed", "timeout")]
    name = meta.relative_to(MUTANTS).as_posix().removesuffix(".py.meta").removeprefix("checkers/")
    return Module(name, Counter(statuses.values()), tuple(survivors))


def listed() -> dict[str, str]:
    """Reason by mutant."""
    groups = tomllib.loads(EQUIVALENT.read_text(encoding="utf-8"))["group"]
    return {mutant: group["reason"] for group in groups for mutant in group["mutants"]}


def table(modules: list[Module], equivalent: dict[str, str]) -> tuple[str, float]:
    """The table, and the share of killed mutants among those that are not listed."""
    rows = [
        "| module | mutants | killed | share | equivalent (listed) | share of the rest |",
        "|---|--:|--:|--:|--:|--:|",
    ]

    def row(name: str, total: int, killed: int, same: int) -> float:
        rest = killed / max(1, total - same)
        rows.append(f"| {name} | {total} | {killed} | {killed / max(1, total):.1%} | {same} | {rest:.1%} |")
        return rest

    sums = [0, 0, 0]
    for part in modules:
        counts = (part.total, part.killed, sum(mutant in equivalent for mutant in part.survivors))
        row(f"`{part.name}`", *counts)
        sums = [before + now for before, now in zip(sums, counts, strict=True)]
    share = row("all", *sums)
    return "\n".join(rows), share


def main() -> int:
    modules = [found for meta in sorted(MUTANTS.rglob("*.meta")) if (found := module(meta)).total]
    statuses = sum((part.statuses for part in modules), Counter())
    if not modules or statuses["not checked"]:
        print("the run did not end: no score", file=sys.stderr)
        return 1
    equivalent = listed()
    survivors = {mutant for part in modules for mutant in part.survivors}
    for mutant in sorted(survivors - equivalent.keys()):
        print(f"survived: {mutant}")
    stale = sorted(equivalent.keys() - survivors)
    for mutant in stale:
        print(f"listed as equivalent, but no survivor: {mutant}", file=sys.stderr)
    text, share = table(modules, equivalent)
    head, rest = PAGE.read_text(encoding="utf-8").split(BEGIN)
    PAGE.write_text(f"{head}{BEGIN}\n{text}\n{END}{rest.split(END)[1]}", encoding="utf-8")
    print(text)
    print(f"{share:.2%} of the mutants that are not listed were killed; {REQUIRED:.0%} are required")
    return int(bool(stale) or share < REQUIRED)


if __name__ == "__main__":
    sys.exit(main())
