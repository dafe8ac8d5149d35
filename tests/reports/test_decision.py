"""Suitability, rank and what would flip them."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest

from brokerbench.brokers.declarations import Support
from brokerbench.reports import decision, record, requirements
from brokerbench.reports.decision import Decision, State, Suitability
from brokerbench.reports.requirements import Criterion, Need
from brokerbench.scenarios.results import Metric, RunResult, VerdictRow
from brokerbench.scenarios.verdicts import Grade, Verdict
from tests.reports import change, sample

NEED = Need(
    name="a-need",
    title="A need",
    quote="said so",
    criteria=[
        Criterion(property="delivery.no_loss", level="must", why="x"),
        Criterion(property="replay.from_beginning", level="should", weight=2, why="x"),
        Criterion(property="retention.overshoot", level="should", at_most=1.2, why="x"),
        Criterion(metric="publish_rate", labels={"mode": "publish"}, level="should", prefer="higher", why="x"),
    ],
)


def decided(result: RunResult, need: Need = NEED) -> Decision:
    return decision.decide(result, [need])[0]


def test_a_must_that_is_promised_and_confirmed_on_the_real_broker_fits() -> None:
    assert {o.profile for o in decided(sample.result()).options if o.fit is Suitability.FITS} == {
        "redis-streams",
        "kafka",
        "kafka-share",
    }


@pytest.mark.parametrize(
    ("verdict", "support", "fit"),
    [
        (Verdict.REFUTED, Support.GUARANTEED, Suitability.DISQUALIFIED),
        (Verdict.CONFIRMED, Support.IMPOSSIBLE, Suitability.DISQUALIFIED),
        (Verdict.NOT_TESTABLE, Support.IMPOSSIBLE, Suitability.DISQUALIFIED),
        (Verdict.REFUTED, Support.IMPOSSIBLE, Suitability.RESERVED),
        (Verdict.CONFIRMED, Support.POSSIBLE, Suitability.DISQUALIFIED),
        (Verdict.INCONCLUSIVE, Support.POSSIBLE, Suitability.DISQUALIFIED),
        (Verdict.INCONCLUSIVE, Support.GUARANTEED, Suitability.RESERVED),
        (Verdict.NOT_TESTABLE, Support.GUARANTEED, Suitability.RESERVED),
        (Verdict.INCONCLUSIVE, Support.UNDECLARED, Suitability.RESERVED),
    ],
)
def test_what_a_verdict_on_a_must_does(verdict: Verdict, support: Support, fit: Suitability) -> None:
    result = change.judged(sample.result(), "kafka", "delivery.no_loss", verdict, support)
    option = decided(result).option("kafka")
    assert option.fit is fit
    assert (option.rank is None) == (fit is Suitability.DISQUALIFIED)
    state = State.NOT_MET if fit is Suitability.DISQUALIFIED else State.OPEN
    assert option.of("must", state)[0].cells == ("kafka.replay", "kafka.ordering", "kafka.throughput")


def test_a_capability_that_is_only_possible_is_a_reservation_even_where_it_worked() -> None:
    need = Need(
        name="n", title="t", quote="q", criteria=[Criterion(property="replay.from_time", level="must", why="x")]
    )
    result = change.judged(sample.result(), "kafka", "replay.from_time", Verdict.CONFIRMED, Support.POSSIBLE)
    assert decided(result, need).option("kafka").fit is Suitability.RESERVED


def test_an_emulator_neither_fulfils_nor_disqualifies() -> None:
    assert decided(sample.result()).option("sqs-fifo").fit is Suitability.RESERVED
    refuted = change.judged(sample.result(), "sqs-fifo", "delivery.no_loss", Verdict.REFUTED)
    option = decided(refuted).option("sqs-fifo")
    assert option.fit is Suitability.RESERVED
    assert "contradicted by the emulator" in option.of("must", State.OPEN)[0].basis


def test_speed_of_an_emulator_ranks_nothing() -> None:
    before = decided(sample.result())
    fast = change.metrics(
        sample.result(),
        "sqs-fifo",
        lambda metric: metric.model_copy(update={"samples": [value * 1e6 for value in metric.samples]}),
    )
    after = decided(fast)
    assert [(o.profile, o.rank, o.points) for o in after.options] == [
        (o.profile, o.rank, o.points) for o in before.options
    ]
    assert after.option("sqs-fifo").points == 0


def test_speed_limited_by_the_generator_ranks_nothing() -> None:
    limited = change.metrics(
        sample.result(), "kafka", lambda metric: metric.model_copy(update={"limited_by": "generator"})
    )
    speed = decided(limited).option("kafka").assessments[-1]
    assert speed.state is State.OPEN
    assert "generator" in speed.basis


def test_a_speed_from_disturbed_windows_ranks_nothing() -> None:
    doubt = "2 of 3 windows in doubt, the first disturbed: 43 % of the machine was taken by others"
    disturbed = change.metrics(
        sample.result(), "kafka", lambda metric: metric.model_copy(update={"doubt": doubt, "comparable": False})
    )
    speed = decided(disturbed).option("kafka").assessments[-1]
    assert speed.state is State.OPEN
    assert speed.basis == f"a speed that ranks nothing: {doubt}"


@pytest.mark.parametrize("profile", ["redis-streams", "kafka"])
def test_a_time_measured_on_a_disturbed_machine_decides_nothing(profile: str) -> None:
    def disturbed(row: VerdictRow) -> VerdictRow:
        measured = row.measured.model_copy(update={"disturbed": "disturbed: up to 43 % of the machine"})
        return row.model_copy(update={"measured": measured})

    before = decided(sample.result()).option(profile).assessments[2]
    assert before.state in (State.MET, State.NOT_MET)
    after = decided(change.rows(sample.result(), profile, str(before.criterion.property), disturbed))
    found = after.option(profile).assessments[2]
    assert (found.state, found.basis) == (State.OPEN, "measured on a disturbed machine")


def test_a_statement_seen_on_a_disturbed_machine_counts() -> None:
    def disturbed(row: VerdictRow) -> VerdictRow:
        measured = row.measured.model_copy(update={"disturbed": "disturbed: up to 43 % of the machine"})
        return row.model_copy(update={"measured": measured})

    result = sample.result()
    name = str(decided(result).option("kafka").assessments[0].criterion.property)
    states = [entry.state for entry in decided(result).option("kafka").assessments]
    after = decided(change.rows(result, "kafka", name, disturbed)).option("kafka").assessments
    assert [entry.state for entry in after] == states


def test_a_preferred_speed_needs_ranges_that_do_not_overlap() -> None:
    shares = {option.profile: option.assessments[-1].share for option in decided(sample.result()).options}
    assert shares["kafka-share"] == 1.0, "its batches of 1000 beat both"
    assert shares["kafka"] == 0.5, "its unlimited figure beats redis only"
    wide = change.metrics(
        sample.result(),
        "redis-streams",
        lambda metric: metric.model_copy(update={"samples": [1.0, *metric.samples, 1e9]}),
    )
    assert decided(wide).option("kafka-share").assessments[-1].share == 0.5


def test_a_speed_alone_is_ranked_against_nobody() -> None:
    alone = sample.with_cells("r", [cell for cell in sample.result().cells if cell.profile == "kafka"])
    speed = decided(alone).option("kafka").assessments[-1]
    assert speed.state is State.OPEN
    assert speed.basis == "no comparable profile to be ranked against"


def test_a_quantity_is_bounded_by_its_worst_sample() -> None:
    states = {option.profile: option.assessments[2].state for option in decided(sample.result()).options}
    assert states["redis-streams"] is State.MET
    assert states["kafka"] is State.NOT_MET
    assert states["sqs-fifo"] is State.OPEN


def test_a_failed_cell_is_no_evidence_and_is_named() -> None:
    cells = [cell for cell in sample.result().cells if cell.profile != "kafka"]
    result = sample.with_cells("r", [*cells, sample.broken("kafka", "replay"), sample.cell("kafka", "retention")])
    option = decided(result).option("kafka")
    assert option.fit is Suitability.UNMEASURED
    assert option.of("must", State.OPEN)[0].basis == "no evidence: a cell failed"
    assert option.of("must", State.OPEN)[0].cells == ("kafka.replay",)


def test_equals_share_a_rank_and_the_next_one_counts_them() -> None:
    need = NEED.model_copy(update={"criteria": NEED.criteria[:2]})
    ranks = {option.profile: option.rank for option in decided(sample.result(), need).options}
    assert ranks == {"redis-streams": 1, "kafka": 1, "kafka-share": 1, "sqs-standard": 4, "sqs-fifo": 4}


def test_the_order_of_cells_decides_nothing() -> None:
    result = sample.result()
    shuffled = list(result.cells)
    random.Random(3).shuffle(shuffled)
    needs = requirements.shipped()
    for one, other in zip(
        decision.decide(result, needs),
        decision.decide(result.model_copy(update={"cells": shuffled}), needs),
        strict=True,
    ):
        assert [(o.profile, o.fit, o.rank, o.points) for o in one.options] == [
            (o.profile, o.fit, o.rank, o.points) for o in other.options
        ]


def test_references_are_no_options() -> None:
    memory = sample.cell("kafka", "replay").model_copy(
        update={"id": "memory.replay", "profile": "memory", "grade": Grade.MODEL}
    )
    result = sample.with_cells("r", [memory, *sample.result().cells])
    assert "memory" not in {option.profile for option in decided(result).options}


def test_each_single_change_is_tried_and_flips_are_found() -> None:
    found = decided(sample.result())
    assert found.winners == ("redis-streams", "kafka-share")
    tried = decision.changes(sample.result(), found)
    whats = [entry.what for entry in tried]
    assert len(whats) == len(set(whats))
    by_what = {entry.what: entry for entry in tried}
    assert by_what["`retention.overshoot` were a must"].winners == ("redis-streams",)
    assert by_what["`retention.overshoot` were a must"].flips
    assert not by_what["`delivery.no_loss` were only a should"].flips
    assert by_what["the real service behind sqs-fifo confirmed what the emulator showed"].flips is False


def test_doubt_about_the_winner_is_a_change() -> None:
    result = sample.result()
    for profile in ("kafka", "kafka-share", "redis-streams"):
        result = change.judged(result, profile, "delivery.no_loss", Verdict.INCONCLUSIVE)
    found = decided(result)
    assert found.winners == ("redis-streams", "kafka-share")
    doubts = [entry for entry in decision.changes(result, found) if "did not hold for kafka-share" in entry.what]
    assert len(doubts) == 1
    assert doubts[0].flips and doubts[0].winners == ("redis-streams",)


def test_a_speed_with_a_bound_is_judged_by_its_slowest_repeat() -> None:
    def need(least: float) -> Need:
        speed = Criterion(metric="publish_rate", labels={"mode": "publish"}, level="should", at_least=least, why="x")
        return Need(name="n", title="t", quote="q", criteria=[speed])

    slowest = min(_best(sample.result(), "redis-streams").samples)
    assert decided(sample.result(), need(slowest)).option("redis-streams").assessments[0].state is State.MET
    assert decided(sample.result(), need(slowest + 1)).option("redis-streams").assessments[0].state is State.NOT_MET


def _best(result: RunResult, profile: str) -> Metric:
    found = [
        metric
        for cell in result.cells
        if cell.profile == profile
        for metric in cell.metrics
        if metric.name == "publish_rate" and metric.labels["mode"] == "publish"
    ]
    return max(found, key=lambda metric: sorted(metric.samples)[1])


def unmeasured(row: VerdictRow) -> VerdictRow:
    nothing = row.measured.model_copy(update={"observations": 0, "violations": 0, "samples": []})
    return row.model_copy(update={"measured": nothing, "verdict": Verdict.INCONCLUSIVE, "reason": "nothing was seen"})


@pytest.mark.parametrize("how", [unmeasured, lambda row: None])
def test_a_profile_of_whose_musts_nothing_was_measured_has_no_rank(
    how: Callable[[VerdictRow], VerdictRow | None],
) -> None:
    result = sample.result()
    for profile in sample.GRADES:
        result = change.rows(result, profile, "delivery.no_loss", how)
    found = decided(result)
    assert found.winners == ()
    assert {option.fit for option in found.options} == {Suitability.UNMEASURED}
    assert "no must was measured" in record.in_short(found)
    some = change.rows(sample.result(), "kafka", "delivery.no_loss", how)
    option = decided(some).option("kafka")
    assert (option.fit, option.rank) == (Suitability.UNMEASURED, None)
    assert "kafka" not in decided(some).winners
    assert "without a rank kafka: no must was measured" in record.in_short(decided(some))
    # One of two musts is enough for a rank with reservations.
    musts = [Criterion(property=name, level="must", why="x") for name in ("delivery.no_loss", "delivery.intact")]
    both = NEED.model_copy(update={"criteria": musts})
    assert decided(some, both).option("kafka").fit is Suitability.RESERVED
