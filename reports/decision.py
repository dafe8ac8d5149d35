"""Which profile fits which need, from the evidence of a run alone.

A **must** holds if the profile promises it *and* the run confirmed it on the real broker. A must that is refuted,
impossible or not promised disqualifies. A must that is promised but not shown here (an emulator, too few observations,
not testable, a failed cell) is a reservation: neither passed in silence nor held against the broker. A profile of
whose musts nothing was measured has no rank: it cannot be first.

A **should** earns its weight if it is met. If it is open, its weight is counted apart, as points that could still
be earned. A preferred speed earns the share of comparable profiles that it surely beats: its slowest repeat is faster
than their fastest. Profiles rank by suitability, then by points; equals share a rank.

``changes`` tells what would flip a decision: one requirement changed, or one doubt about the evidence settled. Only
single changes are tried: a decision that one change flips is worth a discussion, one that needs three is robust.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from brokerbench.brokers.declarations import Kind, Provider, Support
from brokerbench.reports import facts, speeds, words
from brokerbench.reports.facts import Seen
from brokerbench.reports.requirements import Criterion, Need, subject
from brokerbench.scenarios import verdicts
from brokerbench.scenarios.results import RunResult
from brokerbench.scenarios.verdicts import Grade, Verdict


class State(StrEnum):
    MET = "met"
    OPEN = "not shown here"
    NOT_MET = "not met"


class Suitability(StrEnum):
    FITS = "fits"
    RESERVED = "fits with reservations"
    UNMEASURED = "no must was measured"
    DISQUALIFIED = "disqualified"


ONLY_EMULATED = "seen on an emulator only"
_FITS = tuple(Suitability)
_WITHOUT_RANK = (Suitability.UNMEASURED, Suitability.DISQUALIFIED)
_REAL = (Grade.SERVICE, Grade.SOFTWARE)


@dataclass(frozen=True, slots=True)
class Assessment:
    """One criterion against one profile. If it is met, ``share`` of the weight is earned.

    ``basis`` is the kind of reason in a few words, ``reason`` the counts, ``cells`` the place of the evidence.
    ``only_grade``: it is open only because the evidence is an emulator's; the service may show it.
    ``measured``: the run has observations or samples of it.
    """

    criterion: Criterion
    state: State
    basis: str
    reason: str
    cells: tuple[str, ...] = ()
    share: float = 1.0
    only_grade: bool = False
    measured: bool = True


@dataclass(frozen=True, slots=True)
class Option:
    """A profile under a need. ``rank`` is None if it is disqualified, or if no must was measured.

    ``open_points`` could still be earned.
    """

    profile: str
    fit: Suitability
    rank: int | None
    points: float
    open_points: float
    assessments: tuple[Assessment, ...]

    def of(self, level: str, state: State) -> list[Assessment]:
        return [entry for entry in self.assessments if entry.criterion.level == level and entry.state is state]


@dataclass(frozen=True, slots=True)
class Decision:
    """Options of a need, best first, those without a rank last."""

    need: Need
    options: tuple[Option, ...]

    @property
    def winners(self) -> tuple[str, ...]:
        return tuple(option.profile for option in self.options if option.rank == 1)

    @property
    def possible_points(self) -> float:
        return sum(criterion.weight for criterion in self.need.shoulds)

    def option(self, profile: str) -> Option:
        return next(entry for entry in self.options if entry.profile == profile)


def decide(result: RunResult, needs: Sequence[Need], profiles: Sequence[str] | None = None) -> list[Decision]:
    """A decision for each need over ``profiles`` (default: the options of the run)."""
    names = list(profiles if profiles is not None else facts.options(result))
    return [
        Decision(need, rank({name: [assess(result, asked, name, names) for asked in need.criteria] for name in names}))
        for need in needs
    ]


def assess(result: RunResult, criterion: Criterion, profile: str, profiles: Sequence[str]) -> Assessment:
    if criterion.metric is not None:
        return _assess_speed(result, criterion, profile, profiles)
    seen = facts.seen(result, profile, str(criterion.property))
    if not seen.rows:
        return _no_evidence(criterion, seen.failed)
    real = seen.weightiest.grade in _REAL
    state, basis = _state_of(seen, criterion, real=real)
    only_grade = not real and state is State.OPEN and _state_of(seen, criterion, real=True)[0] is State.MET
    row, cells = seen.weightiest, tuple(entry.cell for entry in seen.rows)
    reason = _counted(seen, criterion)
    if state is not State.NOT_MET and row.declared.provided_by is Provider.ADAPTER:
        reason += "; provided by the adapter, not by the broker"
    measured = bool(seen.observations or seen.samples)
    return Assessment(criterion, state, basis, reason, cells, only_grade=only_grade, measured=measured)


def _no_evidence(criterion: Criterion, failed: tuple[str, ...]) -> Assessment:
    if failed:
        named = words.listed(failed)
        return Assessment(criterion, State.OPEN, "no evidence: a cell failed", named, failed, measured=False)
    return Assessment(
        criterion, State.OPEN, "not measured in this run", "no cell of this run looked for it", measured=False
    )


def _state_of(seen: Seen, criterion: Criterion, *, real: bool) -> tuple[State, str]:
    """The state, and the kind of reason for it. ``real``: the evidence is the real broker's."""
    row = seen.weightiest
    if seen.samples and row.measured.disturbed and verdicts.in_time(row.property):
        return State.OPEN, "measured on a disturbed machine"
    if seen.about.kind is Kind.QUANTITY:
        return _within(criterion, seen.samples, real) if seen.samples else (State.OPEN, row.verdict.value)
    if row.declared.support is Support.IMPOSSIBLE:
        if row.verdict is Verdict.REFUTED and real:
            return State.OPEN, "declared impossible, yet seen to hold"
        return State.NOT_MET, "declared impossible" + " and confirmed" * (row.verdict is Verdict.CONFIRMED)
    if row.declared.support is Support.POSSIBLE and row.kind is Kind.ALWAYS:
        return State.NOT_MET, "not promised" + ", and a violation was seen" * (row.verdict is Verdict.CONFIRMED)
    if row.verdict is Verdict.REFUTED:
        if real:
            return State.NOT_MET, "promised, and refuted here"
        return State.OPEN, "contradicted by the emulator; the service was not asked"
    if row.verdict is not Verdict.CONFIRMED:
        return State.OPEN, row.verdict.value
    if row.declared.support is Support.POSSIBLE:
        return State.OPEN, "seen here, and not promised"
    return (State.MET, "promised and confirmed") if real else (State.OPEN, ONLY_EMULATED)


def _counted(seen: Seen, criterion: Criterion) -> str:
    if seen.about.kind is not Kind.QUANTITY or not seen.samples:
        return seen.weightiest.reason
    return f"{words.spread(seen.samples, seen.about.unit)}; asked for {bound(criterion, seen.about.unit)}"


def bound(criterion: Criterion, unit: str) -> str:
    """``at most 60 s``; empty for a criterion without a bound."""
    if criterion.at_most is not None:
        return f"at most {words.amount(criterion.at_most, unit)}"
    return f"at least {words.amount(criterion.at_least, unit)}" if criterion.at_least is not None else ""


def _within(criterion: Criterion, samples: Sequence[float], real: bool) -> tuple[State, str]:
    most, least = criterion.at_most, criterion.at_least
    kept = max(samples) <= most if most is not None else min(samples) >= (least or 0.0)
    if not real:
        return State.OPEN, ONLY_EMULATED if kept else "outside the bound on an emulator; the service was not asked"
    return (State.MET, "within the bound") if kept else (State.NOT_MET, "outside the bound")


def _assess_speed(result: RunResult, criterion: Criterion, profile: str, profiles: Sequence[str]) -> Assessment:
    higher = criterion.prefer != "lower"
    metric, labels = str(criterion.metric), criterion.labels
    found = {name: speeds.best(result, name, metric, labels, higher=higher) for name in profiles}
    own = found[profile]
    if own is None:
        return _no_evidence(criterion, tuple(c.id for c in facts.failed_cells(result) if c.profile == profile))
    figure = f"{own.what}: {words.spread(own.metric.samples, own.metric.unit)}"
    if own.no_rank:
        return Assessment(criterion, State.OPEN, f"a speed that ranks nothing: {own.no_rank}", figure, (own.cell,))
    if criterion.prefer is None:
        state, basis = _within(criterion, own.metric.samples, real=True)
        asked = f"{figure}; asked for {bound(criterion, own.metric.unit)}"
        return Assessment(criterion, state, basis, asked, (own.cell,))
    rivals = [
        speed.metric.samples
        for name, speed in found.items()
        if name != profile and speed and not speed.no_rank and speed.metric.grade is own.metric.grade
    ]
    if not rivals:
        return Assessment(criterion, State.OPEN, "no comparable profile to be ranked against", figure, (own.cell,))
    low, high = min(own.metric.samples), max(own.metric.samples)
    beaten = sum(low > max(rival) if higher else high < min(rival) for rival in rivals)
    share = beaten / len(rivals)
    basis = f"surely {'faster' if higher else 'lower'} than {beaten} of {len(rivals)} comparable profiles"
    return Assessment(criterion, State.MET if share else State.NOT_MET, basis, figure, (own.cell,), share)


def rank(assessed: Mapping[str, Sequence[Assessment]]) -> tuple[Option, ...]:
    """Options with their fit, points and rank, best first."""
    options = [_option(profile, tuple(entries)) for profile, entries in assessed.items()]
    options.sort(key=_order)  # stable: equals stay in the customary order
    places = [_order(option) for option in options]
    return tuple(
        option if option.fit in _WITHOUT_RANK else replace(option, rank=1 + places.index(_order(option)))
        for option in options
    )


def _option(profile: str, entries: tuple[Assessment, ...]) -> Option:
    musts = [entry for entry in entries if entry.criterion.level == "must"]
    states = [entry.state for entry in musts]
    fit = Suitability.RESERVED if State.OPEN in states else Suitability.FITS
    if State.NOT_MET in states:
        fit = Suitability.DISQUALIFIED
    elif musts and not any(entry.measured for entry in musts):
        fit = Suitability.UNMEASURED
    shoulds = [entry for entry in entries if entry.criterion.level == "should"]
    points = sum(entry.criterion.weight * entry.share for entry in shoulds if entry.state is State.MET)
    still_open = sum(entry.criterion.weight for entry in shoulds if entry.state is State.OPEN)
    return Option(profile, fit, None, round(points, 3), round(still_open, 3), entries)


def _order(option: Option) -> tuple[int, float]:
    return _FITS.index(option.fit), -option.points


Assessed = Mapping[str, Sequence[Assessment]]


@dataclass(frozen=True, slots=True)
class TriedChange:
    """A change and the winners after it. ``flips``: they differ from the winners before."""

    what: str
    winners: tuple[str, ...]
    flips: bool


def changes(result: RunResult, decided: Decision) -> list[TriedChange]:
    """Every tried change, in the order of the criteria; changes of the evidence last."""
    assessed: Assessed = {option.profile: option.assessments for option in decided.options}
    tried = [*_requirement_changes(decided, assessed), *_evidence_changes(result, decided, assessed)]
    before = set(decided.winners)
    after = [Decision(decided.need, rank(changed)).winners for _, changed in tried]
    return [TriedChange(what, now, set(now) != before) for (what, _), now in zip(tried, after, strict=True)]


def flips(tried: Sequence[TriedChange]) -> list[TriedChange]:
    return [change for change in tried if change.flips]


def _requirement_changes(decided: Decision, assessed: Assessed) -> Iterator[tuple[str, Assessed]]:
    for number, criterion in enumerate(decided.need.criteria):
        name = f"`{subject(criterion)}`"
        if criterion.level == "must":
            yield f"{name} were only a should", _changed(assessed, number, level="should", weight=1.0)
            continue
        if criterion.property is not None:
            yield f"{name} were a must", _changed(assessed, number, level="must")
        yield f"{name} did not count", _without(assessed, number)
        yield f"{name} counted double", _changed(assessed, number, weight=criterion.weight * 2)


def _evidence_changes(result: RunResult, decided: Decision, assessed: Assessed) -> Iterator[tuple[str, Assessed]]:
    for profile, entries in assessed.items():
        if facts.grade_of(result, profile) is Grade.EMULATOR and any(entry.only_grade for entry in entries):
            what = f"the real service behind {profile} confirmed what the emulator showed"
            yield what, _settled(assessed, profile, lambda entry: entry.only_grade, State.MET)
    for profile in decided.winners:
        for entry in decided.option(profile).of("must", State.OPEN):
            what = f"`{subject(entry.criterion)}`, not shown here, did not hold for {profile}"
            yield what, _settled(assessed, profile, entry.__eq__, State.NOT_MET)


def _changed(assessed: Assessed, number: int, **update: object) -> Assessed:
    """One criterion of every profile updated."""
    changed = {profile: list(entries) for profile, entries in assessed.items()}
    for entries in changed.values():
        criterion = entries[number].criterion.model_copy(update=update)
        entries[number] = replace(entries[number], criterion=criterion)
    return changed


def _without(assessed: Assessed, number: int) -> Assessed:
    return {profile: [*entries[:number], *entries[number + 1 :]] for profile, entries in assessed.items()}


def _settled(assessed: Assessed, profile: str, which: Callable[[Assessment], object], state: State) -> Assessed:
    return {
        name: [replace(entry, state=state) if name == profile and which(entry) else entry for entry in entries]
        for name, entries in assessed.items()
    }
