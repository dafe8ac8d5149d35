"""The outcome of a self-test as a page of Markdown: the same outcome gives the same bytes."""

from __future__ import annotations

from brokerbench.bench.selftest.cases import CASES, CROSS
from brokerbench.bench.selftest.checks import CHECKS, FACTS
from brokerbench.bench.selftest.matrix import FEW, FaultRow
from brokerbench.bench.selftest.run import SelftestResult

_OWN, _OTHER, _SILENT = "**●**", "○", "·"


def markdown(outcome: SelftestResult) -> str:
    return "\n".join([*_head(outcome), *_found(outcome), *_matrix(outcome), *_reviewed(outcome), *_problems(outcome)])


def _head(outcome: SelftestResult) -> list[str]:
    wrong = len({alarm.seed for alarm in outcome.alarms})
    return [
        "# Self-test: what the checkers see",
        "",
        "Written by `brokerbench selftest --page docs/selftest.md`; not edited by hand. Faults are seeded into the",
        "reference broker (`brokers/faulty/broker.py`), experiments are recorded by the same clients as those on real",
        "brokers, and every checker judges every history. The clock jumps over leases and limits instead of waiting.",
        "",
        f"* Faults found by their checkers, with exactly the offending messages: "
        f"{sum(row.found for row in outcome.matrix.rows)} of {len(outcome.matrix.rows)}.",
        f"* False alarms: {wrong} of {outcome.histories:,} clean randomised histories "
        "(many producers, consumers and keys; consumers that die or settle late, unknown outcomes), and "
        f"{sum(bool(silence.alarms) for silence in outcome.matrix.silences)} of {len(outcome.matrix.silences)} "
        "stories without fault.",
        "",
    ]


def _found(outcome: SelftestResult) -> list[str]:
    return [
        "## One offending message suffices",
        "",
        "*Could be hit*: messages that the fault could have struck in that story. *Several*: hits among "
        f"{FEW:,} messages.",
        "",
        "| fault | checker | messages | could be hit | seeded | found | several: seeded | found |",
        "|---|---|---:|---:|---:|---:|---:|---:|",
        *(
            f"| {row.fault} | {row.checker} | {row.single.messages:,} | {row.single.opportunities:,} "
            f"| {len(row.single.seeded)} | {row.single.found()} | {len(row.own.seeded)} | {row.own.found()} |"
            for row in outcome.matrix.rows
        ),
        "",
    ]


def _matrix(outcome: SelftestResult) -> list[str]:
    names = list(CHECKS)
    return [
        "## Which checker answers to which fault",
        "",
        f"{_OWN} its own, found; {_OTHER} another, reviewed below; {_SILENT} silent. Over all stories.",
        "",
        *(
            f"{number}. {name}{' (legal: left out where it is not its own)' if name in FACTS else ''}"
            for number, name in enumerate(names, 1)
        ),
        "",
        f"| fault | {' | '.join(str(number) for number in range(1, len(names) + 1))} |",
        f"|---|{'---|' * len(names)}",
        *(f"| {row.fault} | {' | '.join(_sign(row, name) for name in names)} |" for row in outcome.matrix.rows),
        "",
    ]


def _sign(row: FaultRow, name: str) -> str:
    if name == row.checker:
        return _OWN if row.found else "not found"
    return _OTHER if name in row.others else _SILENT


def _reviewed(outcome: SelftestResult) -> list[str]:
    rows = {row.fault: row for row in outcome.matrix.rows}
    return [
        "## Answers to a fault that is another's",
        "",
        "| fault | its checker | also answers | why |",
        "|---|---|---|---|",
        *(
            f"| {fault} | {CASES[fault].checker} | {name} | {reason} |"
            for (fault, name), reason in CROSS.items()
            if name in rows[fault].others
        ),
        "",
    ]


def _problems(outcome: SelftestResult) -> list[str]:
    if not outcome.problems:
        return []
    return ["## Problems", "", *(f"* {problem}" for problem in outcome.problems), ""]
