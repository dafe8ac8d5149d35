"""The decision record: written from a result, and checked against its committed evidence.

The committed copy of a result is the evidence; each cell and each verdict links to its line there. The same result
gives the same bytes: this module reads no clock, no locale and nothing of the machine.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from jinja2 import Environment, PackageLoader, StrictUndefined

from brokerbench.brokers import names
from brokerbench.reports import decision, facts, requirements, speeds, tables, words
from brokerbench.reports.charts import panels, run_charts
from brokerbench.reports.decision import Assessment, Decision, Option, State, Suitability
from brokerbench.reports.facts import Seen
from brokerbench.reports.requirements import subject
from brokerbench.scenarios import contradictions, results
from brokerbench.scenarios.results import RunResult
from brokerbench.scenarios.verdicts import Grade

DIRECTORY = "evidence"
_CELL = re.compile(r'^   "id": "(?P<id>[^"]+)"')
_PROPERTY = re.compile(r'^     "property": "(?P<name>[^"]+)"')


@dataclass(frozen=True, slots=True)
class CommittedEvidence:
    """A result as text, and the line of each part. ``path`` is relative to the docs directory."""

    path: str
    sha256: str
    text: str
    lines: dict[tuple[str, str], int]

    @classmethod
    def of(cls, result: RunResult) -> Self:
        text = results.dump(result)
        digest = hashlib.sha256(text.encode()).hexdigest()
        return cls(f"{DIRECTORY}/{result.run_id}/result.json", digest, text, _lines(text))

    def link(self, cell: str, property_name: str = "") -> str:
        """A relative address with the line of a cell, or of one verdict in it."""
        line = self.lines.get((cell, property_name)) or self.lines.get((cell, ""))
        return f"{self.path}#L{line}" if line else self.path


def _lines(text: str) -> dict[tuple[str, str], int]:
    """Line numbers from 1. Relies on the canonical form: sorted keys put a cell's id before its verdicts."""
    found: dict[tuple[str, str], int] = {}
    cell = ""
    for number, line in enumerate(text.splitlines(), 1):
        if match := _CELL.match(line):
            cell = match["id"]
            found[cell, ""] = number
        elif cell and (match := _PROPERTY.match(line)):
            found[cell, match["name"]] = number
    return found


def path_in(docs: Path, run_id: str) -> Path:
    """Raises ValueError for an id that is no name."""
    return docs / DIRECTORY / names.check(run_id) / "result.json"


_NAMED = 2
"""Number of criteria named in a sentence; the tables of the record name all."""


def in_short(decided: Decision) -> str:
    """Why the winners are first and what they lack, the profiles behind them, and why others are disqualified."""
    first = [option for option in decided.options if option.rank == 1]
    parts = [_first(first, decided.possible_points)] if first else []
    fitting, reserved, unmeasured, out = (
        [o for o in decided.options if o.rank != 1 and o.fit is fit] for fit in Suitability
    )
    if fitting:
        parts.append(
            f"next {words.listed([f'{option.profile} ({words.number(option.points)})' for option in fitting])}"
        )
    if reserved:
        parts.append(f"with reservations {_grouped(reserved, State.OPEN)}")
    if unmeasured:
        parts.append(f"without a rank {words.listed([option.profile for option in unmeasured])}: no must was measured")
    if not first and not unmeasured:
        parts.append("every profile misses a must")
    if out:
        parts.append(f"disqualified {_grouped(out, State.NOT_MET)}")
    return "; ".join(parts) + "."


def _first(first: Sequence[Option], possible: float) -> str:
    option = first[0]
    points = f"{words.number(option.points)} of {words.number(possible)} points"
    basis = "every must is promised and was confirmed on the real broker"
    if option.fit is not Suitability.FITS:
        basis = f"fits with reservations, {_because(option.of('must', State.OPEN))}"
    lacks = option.of("should", State.NOT_MET)
    missing = f", without {_because(lacks)}" if lacks and len(first) == 1 else ""
    return f"{'equal: ' if len(first) > 1 else ''}{basis}, {points}{missing}"


def _grouped(options: Sequence[Option], state: State) -> str:
    """Profiles with the same reasons are named together."""
    reasons: dict[str, list[str]] = {}
    for option in options:
        reasons.setdefault(_because(option.of("must", state)), []).append(option.profile)
    return ", ".join(f"{words.listed(names)} ({reason})" for reason, names in reasons.items())


def _because(entries: Sequence[Assessment]) -> str:
    """The first kind of reason with the criteria that share it, and the number of others."""
    if not entries:
        return ""
    basis = entries[0].basis
    same = [f"`{subject(entry.criterion)}`" for entry in entries if entry.basis == basis]
    named, others = same[:_NAMED], len(entries) - len(same[:_NAMED])
    more = f" and {others} more" if others else ""
    return f"{', '.join(named)}{more}: {basis}"


NAME = "decision-record.md"
CHARTS = "charts"
_RUN = re.compile(r"generated from run `([^`]+)`")


def write_record(result: RunResult, docs: Path, options: Sequence[str]) -> list[Path]:
    """Write the record, its charts and its evidence below ``docs``; returns the written paths. See ``render``."""
    drawn = _drawn(result)
    files = {path_in(docs, result.run_id): results.dump(result), docs / NAME: render(result, options)}
    files |= {_picture(docs, name): panels.draw(spec) for name, spec in drawn.items()}
    for path, text in files.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    for name in set(run_charts.NAMES) - set(drawn):
        _picture(docs, name).unlink(missing_ok=True)  # of an earlier run
    return list(files)


def _drawn(result: RunResult) -> Mapping[str, panels.Spec]:
    return run_charts.of_run(result, facts.options(result))


def _picture(docs: Path, name: str) -> Path:
    return docs / CHARTS / f"{name}.svg"


def check_record(docs: Path, options: Sequence[str]) -> list[str]:
    """Problems, each a sentence; empty if record and charts follow from the committed evidence."""
    path = docs / NAME
    if not path.exists():
        return [f"{path} is missing; `brokerbench decide` writes it"]
    text = path.read_text(encoding="utf-8")
    run = _RUN.search(text)
    if run is None:
        return [f"{path} does not name the run that it was generated from; `brokerbench decide` writes it anew"]
    try:
        evidence = path_in(docs, run[1])
        result = results.read(evidence)
    except ValueError as error:  # also ResultError
        return [f"the evidence of {path} cannot be used: {error}"]
    problems = [f"{evidence} contradicts itself: {problem}" for problem in contradictions.of_result(result)]
    if result.run_id != run[1]:
        problems.append(f"{evidence} is of run {result.run_id!r}, not of {run[1]!r}")
    if evidence.read_text(encoding="utf-8") != results.dump(result):
        problems.append(f"{evidence} was edited: it is not as brokerbench writes it")
    problems += _compare(path, text, render(result, options))
    drawn = _drawn(result)
    for name in run_charts.NAMES:
        if name in drawn:
            problems += panels.check(_picture(docs, name), drawn[name])
        elif _picture(docs, name).exists():
            problems.append(f"{_picture(docs, name)} is of another run: this one has no data for it")
    return problems


def _compare(path: Path, found: str, wanted: str) -> list[str]:
    if found == wanted:
        return []
    old, new = found.splitlines(), wanted.splitlines()
    differ = (i for i, (a, b) in enumerate(zip(old, new, strict=False)) if a != b)
    at = next(differ, min(len(old), len(new)))
    is_, follows = (_excerpt(lines[at]) if at < len(lines) else "nothing" for lines in (old, new))
    return [f"{path}, line {at + 1}: the record says {is_}; from its evidence follows {follows}"]


def _excerpt(line: str) -> str:
    return repr(line if len(line) <= 120 else f"{line[:117]}...")


def render(result: RunResult, options: Sequence[str]) -> str:
    """The record as Markdown. It shows these ``options`` first, measured or not, and then others of the run."""
    environment = Environment(
        loader=PackageLoader("brokerbench.reports"),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,  # Markdown: the filter ``cell`` escapes texts from outside
    )
    environment.filters.update(cell=_escape, code=_code, sentence=_sentence)
    environment.filters.update(number=words.number, count=words.count, listed=words.listed)
    return environment.get_template("decision-record.md.j2").render(_view(result, options))


def _view(result: RunResult, options: Sequence[str]) -> Mapping[str, Any]:
    """The template's variables."""
    measured = facts.options(result)
    profiles = list(dict.fromkeys((*options, *measured)))
    evidence = CommittedEvidence.of(result)
    decisions = decision.decide(result, requirements.shipped(), measured) if measured else []
    tried = {decided.need.name: decision.changes(result, decided) for decided in decisions}
    return {
        "result": result,
        "evidence": evidence,
        "profiles": profiles,
        "measured": measured,
        "unmeasured": [name for name in profiles if name not in measured],
        "in_short": in_short,
        "grades": {name: facts.grade_of(result, name) for name in profiles},
        "grade_words": words.GRADE_WORDS,
        "engine_of": {cell.profile: cell.engine for cell in result.cells},
        "decisions": decisions,
        "tried": tried,
        "flips": {name: decision.flips(found) for name, found in tried.items()},
        "chosen": list(dict.fromkeys(name for decided in decisions for name in decided.winners)),
        "why": _why,
        "living_with": lambda profile: tables.living_with(result, profile),
        "groups": facts.GROUPS,
        "symbols": [(facts.SYMBOLS[outcome], facts.MEANINGS[outcome]) for outcome in facts.PropertyOutcome],
        "properties_of": facts.properties_of,
        "seen": lambda profile, name: facts.seen(result, profile, name),
        "verdict_cell": lambda seen: _verdict_cell(seen, evidence),
        "missed": tables.missed,
        "bounded": _bounded(result, profiles),
        "surroundings": facts.surroundings(result),
        "surprises": tables.surprises(result, profiles),
        "gaps": tables.gaps(result, profiles),
        "failed": facts.failed_cells(result),
        "disturbed": facts.disturbed_cells(result),
        "left_out": [cell for cell in result.cells if cell.left_out],
        "speed_tables": _speed_tables(speeds.of_run(result, profiles)),
        "conditions": speeds.conditions(speeds.of_run(result, profiles)),
        "speed_row": lambda speed: _speed_row(speed, evidence),
        "without_speed": speeds.profiles_without(result, profiles, "throughput"),
        "charts": _drawn(result),
        "State": State,
    }


def _why(option: Option) -> Mapping[str, Sequence[Assessment]]:
    """The reasons for an option's rank, by level and basis: why it is out, else open criteria, else missed ones."""
    entries = option.of("must", State.NOT_MET)
    if option.fit is not Suitability.DISQUALIFIED:
        entries = option.of("must", State.OPEN) + option.of("should", State.NOT_MET)
        entries += [entry for entry in option.of("should", State.MET) if entry.share < 1]
        entries += option.of("should", State.OPEN)
    grouped: dict[str, list[Assessment]] = {}
    for entry in entries:
        grouped.setdefault(f"{entry.criterion.level}, {entry.basis}", []).append(entry)
    return grouped


def _verdict_cell(seen: Seen, evidence: CommittedEvidence) -> str:
    """One cell of a table: outcome, declaration and measurement, with a link to each row of evidence."""
    symbol, meaning = facts.SYMBOLS[seen.outcome], seen.outcome.value
    if not seen.rows:
        where = "".join(f" [{cell}]({evidence.link(cell)})" for cell in seen.failed)
        return f"{symbol} **{meaning}**{where}" if seen.failed else f"{symbol} {meaning}"
    first, *others = (evidence.link(entry.cell, seen.about.name) for entry in seen.rows)
    more = "".join(f" [({number})]({link})" for number, link in enumerate(others, 2))
    declared, measured = tables.declared(seen.weightiest.declared, seen.about), tables.measured(seen)
    return f"{symbol} [{meaning}]({first}){more}<br>declared: {declared}<br>measured: {measured}"


def _bounded(result: RunResult, profiles: Sequence[str]) -> list[str]:
    """Properties with a bound on the rate of missed violations, on some profile."""
    return [
        name
        for name in facts.PROPERTY_NAMES
        if any(facts.seen(result, profile, name).missed is not None for profile in profiles)
    ]


def _speed_tables(found: Sequence[speeds.Speed]) -> list[tuple[str, list[speeds.Speed]]]:
    """Speeds under headings that separate figures which do not compare."""
    emulated = [speed for speed in found if speed.metric.grade in (Grade.EMULATOR, Grade.MODEL)]
    real = [speed for speed in found if speed not in emulated]
    return [
        ("Real brokers: publish and consume", [speed for speed in real if speed.metric.name != "replay_rate"]),
        ("Real brokers: reading again", [speed for speed in real if speed.metric.name == "replay_rate"]),
        ("Emulators: these rank nothing", emulated),
    ]


def _speed_row(speed: speeds.Speed, evidence: CommittedEvidence) -> list[str]:
    metric, cpu, ceiling = speed.metric, speed.cpu, speed.ceiling
    return [
        speed.profile,
        "<br>".join(filter(None, [speed.what, _escape(speed.not_acknowledged)])),
        f"{words.number(speed.median)} {metric.unit}",
        f"{words.number(min(metric.samples))} to {words.number(max(metric.samples))}, n = {len(metric.samples)}",
        words.spread(cpu.samples, cpu.unit) if cpu else "not measured",
        words.spread(ceiling.samples, ceiling.unit) if ceiling else "not measured",
        f"nothing: {speed.no_rank}" if speed.no_rank else "yes",
        f"[{metric.grade.value}]({evidence.link(speed.cell)})",
    ]


def _escape(text: str) -> str:
    """Escape text from outside for one cell of a Markdown table."""
    return " ".join(text.split()).replace("\\", "\\\\").replace("|", "\\|").replace("<", "&lt;").replace("`", "'")


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:]


def _code(text: str) -> str:
    return f"`{' '.join(str(text).split()).replace('`', chr(39)).replace('|', chr(92) + '|')}`"
