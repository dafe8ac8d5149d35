"""A comparison of two builds, for a person, a pull request, a CI server and a program."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict
from typing import Any
from xml.etree import ElementTree

from brokerbench.reports import tables, words
from brokerbench.scenarios.compare.regression import Change, Regression, SpeedChange, VerdictChange

Entry = VerdictChange | SpeedChange
Row = tuple[str, ...]
_ORDER = (Change.WORSE, Change.BETTER, Change.NEW, Change.UNDECIDED, Change.SAME)
_NOT_IN_TURNS = (
    "Base and head took no turns: a drift of the machine between them would look the same. A difference counts only "
    "beyond the differences between repeats of one build."
)


def text(found: Regression) -> str:
    """Tables in plain text, changes first; unchanged verdicts are only counted."""
    drawn = [tables.table(head, rows) for head, rows in _tables(found)]
    return "\n\n".join([*drawn, *_remarks(found), _conclusion(found)])


def markdown(found: Regression) -> str:
    """The same for a pull request."""
    parts = [f"### brokerbench: {_conclusion(found)}"]
    for head, rows in _tables(found):
        lines = [head, tuple("---" for _ in head), *rows]
        parts.append("\n".join(f"| {' | '.join(map(_cell, line))} |" for line in lines))
    return "\n\n".join([*parts, *_remarks(found)]) + "\n"


def junit(found: Regression) -> str:
    """JUnit XML: one test for each verdict and speed. Worse ones fail; undecided ones are skipped, with the reason."""
    entries = found.entries
    counts = Counter(entry.change for entry in entries)
    suite = ElementTree.Element(
        "testsuite",
        name="brokerbench compare",
        tests=str(len(entries)),
        failures=str(counts[Change.WORSE]),
        errors="0",
        skipped=str(counts[Change.UNDECIDED]),
    )
    for entry in entries:
        case = ElementTree.SubElement(suite, "testcase", classname=entry.cell, name=_name(entry))
        if entry.change is Change.WORSE:
            ElementTree.SubElement(case, "failure", message=_sentence(entry))
        elif entry.change is Change.UNDECIDED:
            ElementTree.SubElement(case, "skipped", message=_sentence(entry))
    root = ElementTree.Element("testsuites")
    root.append(suite)
    ElementTree.indent(root)
    return ElementTree.tostring(root, encoding="unicode", xml_declaration=True) + "\n"


def document(found: Regression) -> dict[str, Any]:
    """Everything, for a program to read."""
    return {"regressions": len(found.worse), "counts": _counts(found), **asdict(found)}


def regressions(found: Regression) -> list[str]:
    """The name of each."""
    return [f"{entry.cell} {_name(entry)}" for entry in found.worse]


_VERDICTS = ("", "cell", "property", "base", "head", "why")
_SPEEDS = ("", "cell", "speed", "base", "head", "change", "interval", "beyond", "why")


def _tables(found: Regression) -> list[tuple[Row, list[Row]]]:
    shown = [entry for entry in (*found.cells, *found.verdicts) if entry.change is not Change.SAME or entry.note]
    verdicts: list[Row] = [
        (one.change.value, one.cell, one.property, one.base, one.head, one.note) for one in _sorted(shown)
    ]
    speeds = [_speed_row(entry) for entry in _sorted(found.speeds)]
    return [(head, rows) for head, rows in ((_VERDICTS, verdicts), (_SPEEDS, speeds)) if rows]


def _speed_row(entry: SpeedChange) -> Row:
    base, head = (words.spread(samples, entry.unit) for samples in (entry.base, entry.head))
    return (entry.change.value, entry.cell, entry.what, base, head, *_ratio(entry), entry.note)


def _ratio(entry: SpeedChange) -> tuple[str, str, str]:
    """Change, interval, and the threshold that a difference must exceed."""
    seen = entry.comparison
    if seen is None:
        return words.NOTHING, words.NOTHING, words.NOTHING
    change, low, high = (f"{(ratio - 1) * 100:+.1f} %" for ratio in (seen.ratio, seen.low, seen.high))
    return change, f"{low} to {high}", f"{words.number(entry.threshold * 100)} %"


def _sorted(entries: Iterable[Any]) -> list[Any]:
    return sorted(entries, key=lambda entry: _ORDER.index(entry.change))


def _name(entry: Entry) -> str:
    return entry.property if isinstance(entry, VerdictChange) else entry.what


def _sentence(entry: Entry) -> str:
    note = f" ({entry.note})" if entry.note else ""
    if isinstance(entry, VerdictChange):
        return f"{entry.property}: {entry.base}, now {entry.head}{note}"
    change, interval, _ = _ratio(entry)
    size = f": {change}, interval {interval}" if entry.comparison else ""
    return f"{entry.what} {entry.change.value}{size}{note}"


def _remarks(found: Regression) -> list[str]:
    remarks = []
    if found.speeds:
        remarks += [] if found.in_turns else [_NOT_IN_TURNS]
        remarks.append(
            f"Intervals: {found.confidence:.0%} for all speeds together. A difference counts from the threshold under "
            f"'beyond' on."
        )
    if found.differences:
        remarks.append("Differences: " + "; ".join(found.differences) + ".")
    return remarks


def _counts(found: Regression) -> dict[str, int]:
    counts = Counter(entry.change for entry in found.entries)
    return {change.value: counts[change] for change in _ORDER}


def _conclusion(found: Regression) -> str:
    counts = [f"{count} {name}" for name, count in _counts(found).items() if count]
    effect = f"minimum effect {words.number(found.minimum_effect * 100)} %"
    verdict = "a regression" if found.worse else "no regression"
    return f"{verdict}: {', '.join(counts) or 'nothing was compared'}; {effect}"


def _cell(content: str) -> str:
    """Escape text that would end a cell of a Markdown table."""
    return " ".join(content.replace("|", "\\|").split())
