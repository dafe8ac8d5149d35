"""Whether rounds of two builds can be compared: everything but the build must have been the same."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from brokerbench.scenarios.compare.rounds import CLIENT, Facts, Round


class Incomparable(ValueError):
    """Two sides that can't be compared. ``reasons``: a sentence for each difference."""

    def __init__(self, reasons: Sequence[str]) -> None:
        self.reasons = tuple(reasons)
        super().__init__("; ".join(reasons))


def refuse_unlike(base: Sequence[Round], head: Sequence[Round]) -> None:
    """Every round must have been measured as the first one of base was. Raises Incomparable."""
    first = base[0]
    reasons = [
        f"{one.source} was cut short: it does not hold what was planned" for one in (*base, *head) if one.cut_short
    ]
    for other in (*base[1:], *head):
        both = f"{first.source} and {other.source}"
        if other.kind != first.kind:
            reasons.append(f"{both}: one is a {first.kind} result, the other of {other.kind}")
            continue
        reasons += [f"{both}: {text}" for text in _unlike(first.conditions, other.conditions)]
        for cell, facts in first.cells.items():
            if cell not in other.cells:
                reasons.append(f"{cell} was measured in {first.source} and not in {other.source}")
            else:
                reasons += [f"{both}: {cell}: {text}" for text in _unlike(facts, other.cells[cell])]
    units = {(entry.cell, entry.what): entry.unit for entry in first.series}
    for one in head:
        for entry in one.series:
            before = units.get((entry.cell, entry.what), entry.unit)
            if before != entry.unit:
                reasons.append(f"{entry.cell}: {entry.what} in {before} and in {entry.unit}")
    if not first.cells:
        reasons.append(f"{first.source} holds nothing to compare")
    if reasons:
        raise Incomparable(list(dict.fromkeys(reasons)))


def _unlike(one: Facts, other: Facts) -> Iterable[str]:
    for name in sorted(one.keys() | other.keys()):
        before, after = one.get(name, "not stated"), other.get(name, "not stated")
        if name == CLIENT and not (name in one and name in other):
            continue
        if before != after:
            yield f"{name}: {before} against {after}"


def differences(base: Sequence[Round], head: Sequence[Round]) -> Iterable[str]:
    """Differences that do not hinder a comparison, but are reported."""
    for name in sorted({name for one in (*base, *head) for name in one.notes}):
        before, after = ({one.notes.get(name, "none") for one in side} for side in (base, head))
        if before != after:
            yield f"{name}: {', '.join(sorted(before))} against {', '.join(sorted(after))}"


def took_turns(base: Sequence[str], head: Sequence[str]) -> bool:
    """Whether these moments (ISO 8601, UTC) alternate in pairs: base and head, or head and base."""
    if len(base) != len(head) or len(base) < 2:
        return False
    order = [side for _, side in sorted([(moment, "base") for moment in base] + [(moment, "head") for moment in head])]
    return all(order[at] != order[at + 1] for at in range(0, len(order), 2))
