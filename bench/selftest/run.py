"""The whole self-test, on all cores, and its outcome in words, as JSON and as a page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from brokerbench.bench.selftest import matrix, random_histories
from brokerbench.bench.selftest.cases import CASES, CROSS
from brokerbench.bench.selftest.matrix import Matrix, Row, Tell
from brokerbench.bench.selftest.pool import workers
from brokerbench.bench.selftest.random_histories import Alarm

_CLEAN_SHARE = 0.1
"""Of the time that it takes."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """``messages``: among which one was hit. ``histories``: clean ones that were judged."""

    messages: int
    matrix: Matrix
    histories: int
    alarms: Sequence[Alarm]

    @property
    def problems(self) -> list[str]:
        """What makes the self-test fail, in words."""
        rows = self.matrix.rows
        return [
            *(f"{row.fault} is not found by {row.checker}" for row in rows if not row.found),
            *(f"{name} answers to {row.fault}, and nobody has reviewed why" for row in rows for name in row.unreviewed),
            *(
                f"{name} finds {count} in the story {silence.story!r} without any fault"
                for silence in self.matrix.silences
                for name, count in silence.alarms.items()
            ),
            *(f"{alarm.checker} finds {alarm.violations} in the clean history {alarm.seed}" for alarm in self.alarms),
        ]


def run(messages: int, histories: int, tell: Tell) -> Outcome:
    with workers() as pool:
        alarms = random_histories.search(histories, pool, lambda share, doing: tell(share * _CLEAN_SHARE, doing))
        measured = matrix.measure(
            messages, pool, lambda share, doing: tell(_CLEAN_SHARE + share * (1 - _CLEAN_SHARE), doing)
        )
        return Outcome(messages, measured, histories, alarms)


def as_json(outcome: Outcome) -> dict[str, Any]:
    return {
        "messages": outcome.messages,
        "false_alarms": {"histories": outcome.histories, "alarms": [asdict(alarm) for alarm in outcome.alarms]},
        "faults": [_row_as_json(row) for row in outcome.matrix.rows],
        "problems": outcome.problems,
    }


def _row_as_json(row: Row) -> Mapping[str, Any]:
    return {
        "fault": row.fault.value,
        "checker": row.checker,
        "found": row.found,
        "offending_seeded": len(row.single.seeded),
        "offending_found": row.single.found(),
        "messages": row.single.messages,
        "opportunities": row.single.opportunities,
        "also_answer": [
            {"checker": name, "reason": CROSS.get((row.fault, name), "not reviewed")} for name in row.others
        ],
    }


def text(outcome: Outcome) -> str:
    lines = [f"one hit among {outcome.messages:,} messages"]
    width = max(map(len, CASES))
    for row in outcome.matrix.rows:
        mark = "found" if row.found else "NOT FOUND"
        others = f"; also {', '.join(row.others)}" if row.others else ""
        lines.append(
            f"{row.fault.value:<{width}}  {mark:<9}  {row.checker} "
            f"({row.single.found()} of {len(row.single.seeded)}){others}"
        )
    wrong = len({alarm.seed for alarm in outcome.alarms})
    lines.append(f"false alarms: {wrong} of {outcome.histories:,} clean histories")
    lines += [f"problem: {problem}" for problem in outcome.problems]
    return "\n".join(lines)
