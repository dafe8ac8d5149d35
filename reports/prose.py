"""A decision in a sentence or two, for the head of the record."""

from __future__ import annotations

from collections.abc import Sequence

from brokerbench.reports import words
from brokerbench.reports.decision import Assessment, Decision, Option, State, Suitability
from brokerbench.reports.requirements import subject

_NAMED = 2
"""Number of criteria named in a sentence; the tables of the record name all."""


def in_short(decided: Decision) -> str:
    """Why the winners are first and what they lack, the profiles behind them, and why others are disqualified."""
    first = [option for option in decided.options if option.rank == 1]
    parts = [_first(first, decided.possible_points)] if first else ["every profile misses a must"]
    behind = [option for option in decided.options if option.rank is not None and option.rank > 1]
    fitting = [option for option in behind if option.fit is Suitability.FITS]
    reserved = [option for option in behind if option.fit is Suitability.RESERVED]
    if fitting:
        behind_them = [f"{option.profile} ({words.number(option.points)})" for option in fitting]
        parts.append(f"next {words.listed(behind_them)}")
    if reserved:
        parts.append(f"with reservations {_grouped(reserved, State.OPEN)}")
    out = [option for option in decided.options if option.fit is Suitability.DISQUALIFIED]
    if out:
        parts.append(f"disqualified {_grouped(out, State.NOT_MET)}")
    return "; ".join(parts) + "."


def _first(first: Sequence[Option], possible: float) -> str:
    option = first[0]
    points = f"{words.number(option.points)} of {words.number(possible)} points"
    if option.fit is Suitability.FITS:
        basis = "every must is promised and was confirmed on the real broker"
    else:
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
