"""Every way from a declaration and a finding to a verdict."""

import pytest

from brokerbench.brokers.declarations import PROPERTIES, Declaration, Kind, Provider, Support
from brokerbench.scenarios.verdicts import MIN_OBSERVATIONS, Finding, Verdict, judge, upper_bound_95

ALWAYS, CAN, QUANTITY = "delivery.no_loss", "replay.from_beginning", "retention.overshoot"


def declared(support: Support, low: float | None = None, high: float | None = None) -> Declaration:
    return Declaration(support, Provider.BROKER, "a source", low=low, high=high)


@pytest.mark.parametrize(
    ("support", "violations", "observations", "verdict"),
    [
        (Support.GUARANTEED, 0, MIN_OBSERVATIONS, Verdict.CONFIRMED),
        (Support.GUARANTEED, 0, MIN_OBSERVATIONS - 1, Verdict.INCONCLUSIVE),
        (Support.GUARANTEED, 1, 10, Verdict.REFUTED),
        (Support.POSSIBLE, 1, 10, Verdict.CONFIRMED),
        (Support.POSSIBLE, 0, 10**6, Verdict.INCONCLUSIVE),
        (Support.IMPOSSIBLE, 1, 10, Verdict.CONFIRMED),
        (Support.IMPOSSIBLE, 0, MIN_OBSERVATIONS, Verdict.REFUTED),
        (Support.IMPOSSIBLE, 0, 0, Verdict.INCONCLUSIVE),
        (Support.UNDECLARED, 1, 10, Verdict.INCONCLUSIVE),
    ],
)
def test_statements(support: Support, violations: int, observations: int, verdict: Verdict) -> None:
    finding = Finding(ALWAYS, observations=observations, violations=violations)
    assert judge(declared(support), finding).verdict is verdict


@pytest.mark.parametrize(
    ("support", "failures", "attempts", "verdict"),
    [
        (Support.GUARANTEED, 0, 1, Verdict.CONFIRMED),
        (Support.GUARANTEED, 1, 3, Verdict.REFUTED),
        (Support.GUARANTEED, 0, 0, Verdict.INCONCLUSIVE),
        (Support.IMPOSSIBLE, 3, 3, Verdict.CONFIRMED),
        (Support.IMPOSSIBLE, 2, 3, Verdict.REFUTED),
        (Support.POSSIBLE, 2, 3, Verdict.CONFIRMED),
        (Support.POSSIBLE, 3, 3, Verdict.INCONCLUSIVE),
    ],
)
def test_capabilities(support: Support, failures: int, attempts: int, verdict: Verdict) -> None:
    assert judge(declared(support), Finding(CAN, observations=attempts, violations=failures)).verdict is verdict


@pytest.mark.parametrize(
    ("low", "high", "samples", "verdict"),
    [
        (0.0, 1.0, (0.0, 1.0), Verdict.CONFIRMED),
        (0.0, 1.0, (0.5, 1.01), Verdict.REFUTED),
        (0.0, None, (-0.1,), Verdict.REFUTED),
        (None, None, (5.0,), Verdict.INCONCLUSIVE),
        (0.0, 1.0, (), Verdict.INCONCLUSIVE),
    ],
)
def test_quantities(low: float | None, high: float | None, samples: tuple[float, ...], verdict: Verdict) -> None:
    assert judge(declared(Support.GUARANTEED, low, high), Finding(QUANTITY, samples=samples)).verdict is verdict


@pytest.mark.parametrize(
    ("low", "high", "lows", "samples", "verdict"),
    [
        (0.0, 1.0, (0.0, 0.4), (0.2, 1.0), Verdict.CONFIRMED),
        (0.0, 1.0, (0.0, 0.4), (0.2, 1.1), Verdict.INCONCLUSIVE),
        (0.0, 1.0, (0.0, 1.0), (0.2, 1.1), Verdict.INCONCLUSIVE),
        (0.0, 1.0, (0.0, 1.01), (0.2, 1.1), Verdict.REFUTED),
        (0.0, 1.0, (-0.1, 0.4), (0.2, 0.5), Verdict.INCONCLUSIVE),
        (0.0, 1.0, (-0.1, 0.4), (0.0, 0.5), Verdict.INCONCLUSIVE),
        (0.0, 1.0, (-0.2, 0.4), (-0.1, 0.5), Verdict.REFUTED),
        (0.0, None, (0.0,), (99.0,), Verdict.CONFIRMED),
        (None, 1.0, (-99.0,), (1.0,), Verdict.CONFIRMED),
    ],
)
def test_an_interval_is_judged_by_the_end_that_proves_it(
    low: float | None, high: float | None, lows: tuple[float, ...], samples: tuple[float, ...], verdict: Verdict
) -> None:
    finding = Finding(QUANTITY, samples=samples, sample_lows=lows)
    assert judge(declared(Support.GUARANTEED, low, high), finding).verdict is verdict


def test_the_reason_counts_what_is_not_known_well_enough() -> None:
    finding = Finding(QUANTITY, samples=(0.2, 1.1, 2.0), sample_lows=(0.1, 0.4, 0.9))
    reason = judge(declared(Support.GUARANTEED, 0.0, 1.0), finding).reason
    assert reason == ("0 of 3 samples outside the declared bound; 2 are not known well enough to be inside or outside")
    assert judge(declared(Support.GUARANTEED, 0.0, 3.0), finding).reason == "0 of 3 samples outside the declared bound"


DISTURBED = "disturbed: up to 43 % of the machine was taken by others, in 1 of 3 stretches"


@pytest.mark.parametrize(
    ("samples", "disturbed", "verdict"),
    [
        ((1.0, 9.0), "", Verdict.REFUTED),
        ((1.0, 9.0), DISTURBED, Verdict.INCONCLUSIVE),
        ((1.0, 2.0), DISTURBED, Verdict.CONFIRMED),
    ],
)
def test_a_disturbed_machine_refutes_no_bound_in_time(
    samples: tuple[float, ...], disturbed: str, verdict: Verdict
) -> None:
    found = judge(declared(Support.GUARANTEED, 0.0, 5.0), Finding(QUANTITY, samples=samples, disturbed=disturbed))
    assert found.verdict is verdict
    if verdict is Verdict.INCONCLUSIVE:
        assert found.reason == f"1 of 2 samples outside the declared bound, but the machine was {DISTURBED}"


@pytest.mark.parametrize("name", sorted(name for name, entry in PROPERTIES.items() if entry.kind is Kind.QUANTITY))
def test_a_disturbed_machine_excuses_times_alone(name: str) -> None:
    found = judge(declared(Support.GUARANTEED, None, 5.0), Finding(name, samples=(9.0,), disturbed=DISTURBED))
    in_time = PROPERTIES[name].unit in ("ms", "s")
    assert found.verdict is (Verdict.INCONCLUSIVE if in_time else Verdict.REFUTED)


def test_a_disturbed_machine_excuses_no_violation() -> None:
    lost = Finding(ALWAYS, observations=1000, violations=1, disturbed=DISTURBED)
    assert judge(declared(Support.GUARANTEED), lost).verdict is Verdict.REFUTED


def test_reasons_for_not_testing_come_first() -> None:
    finding = Finding(ALWAYS, observations=5, violations=5, not_testable="no such power here")
    assert judge(declared(Support.GUARANTEED), finding).verdict is Verdict.NOT_TESTABLE
    lacking = Declaration(Support.GUARANTEED, Provider.BROKER, "s", client_lacks="the client has no RENEW")
    assert judge(lacking, Finding(ALWAYS, observations=5, violations=5)).reason == "the client has no RENEW"


def test_the_bound_says_what_could_have_been_missed() -> None:
    assert upper_bound_95(0) == 1.0
    assert upper_bound_95(3000) == pytest.approx(3 / 3000, rel=0.01)
    clean = judge(declared(Support.GUARANTEED), Finding(ALWAYS, observations=3000))
    assert clean.missed_rate_upper_95 == pytest.approx(0.000998, rel=0.01)
    assert (
        judge(declared(Support.GUARANTEED), Finding(ALWAYS, observations=9, violations=1)).missed_rate_upper_95 is None
    )


@pytest.mark.parametrize(
    ("name", "support", "violations", "expected"),
    [
        ("delivery.no_loss", Support.GUARANTEED, 0, Verdict.INCONCLUSIVE),
        ("delivery.no_loss", Support.GUARANTEED, 1, Verdict.REFUTED),
        ("delivery.no_loss", Support.POSSIBLE, 0, Verdict.INCONCLUSIVE),
        ("delivery.no_loss", Support.IMPOSSIBLE, 0, Verdict.INCONCLUSIVE),
        ("replay.from_time", Support.GUARANTEED, 0, Verdict.INCONCLUSIVE),
        ("replay.from_time", Support.GUARANTEED, 1, Verdict.REFUTED),
        ("replay.from_time", Support.POSSIBLE, 0, Verdict.CONFIRMED),
        ("replay.from_time", Support.IMPOSSIBLE, 400, Verdict.INCONCLUSIVE),
        ("replay.from_time", Support.IMPOSSIBLE, 399, Verdict.REFUTED),
    ],
)
def test_required_and_not_seen_is_never_fine(name: str, support: Support, violations: int, expected: Verdict) -> None:
    declaration = Declaration(support, Provider.BROKER, "a source")
    finding = Finding(name, observations=400, violations=violations, open=5)
    judgement = judge(declaration, finding)
    assert judgement.verdict is expected
    if not violations:
        assert "5 more" in judgement.reason


def test_every_case_that_was_not_seen_widens_the_bound() -> None:
    declaration = Declaration(Support.GUARANTEED, Provider.BROKER, "a source")
    bound = judge(declaration, Finding("delivery.no_loss", observations=400, open=100)).missed_rate_upper_95
    assert bound == pytest.approx((100 + 400 * upper_bound_95(400)) / 500)


def test_a_quantity_declared_impossible_and_measured_is_refuted() -> None:
    declaration = Declaration(Support.IMPOSSIBLE, Provider.NOBODY, "a source", low=0.0)
    assert judge(declaration, Finding("replay.time_offset", samples=(1.0,))).verdict is Verdict.REFUTED
    assert judge(declaration, Finding("replay.time_offset")).verdict is Verdict.NOT_TESTABLE
