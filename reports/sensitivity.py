"""Which changes would flip a decision: one requirement changed, or one doubt about the evidence settled.

Only single changes are tried: a decision that one change flips is worth a discussion, one that needs three is robust.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from brokerbench.reports import decision, facts
from brokerbench.reports.decision import Assessment, Decision, State
from brokerbench.reports.requirements import subject
from brokerbench.scenarios.results import RunResult
from brokerbench.scenarios.verdicts import Grade

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
    found = []
    for what, changed in tried:
        after = decision.winners(decision.rank(changed))
        found.append(TriedChange(what, after, set(after) != before))
    return found


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

    def changed(entry: Assessment) -> Assessment:
        return replace(entry, criterion=entry.criterion.model_copy(update=update))

    return {
        profile: [changed(entry) if at == number else entry for at, entry in enumerate(entries)]
        for profile, entries in assessed.items()
    }


def _without(assessed: Assessed, number: int) -> Assessed:
    return {
        profile: [entry for at, entry in enumerate(entries) if at != number] for profile, entries in assessed.items()
    }


def _settled(assessed: Assessed, profile: str, which: Callable[[Assessment], object], state: State) -> Assessed:
    return {
        name: [replace(entry, state=state) if name == profile and which(entry) else entry for entry in entries]
        for name, entries in assessed.items()
    }
