"""The conformance kit in pytest, for this repository and for that of any adapter.

An adapter's own tests need one import and the names of its profiles, as the registry knows them::

    from brokerbench.bench.pytest_plugin import test_conformance

    PROFILES = ["their-profile"]

Each check is one test. Engines are started once a session and are gone with it. The fixtures are there wherever
brokerbench is installed; heavy imports wait until a test asks for them.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from brokerbench.bench.conformance import Result
    from brokerbench.bench.engines.base import RunningEngine
    from brokerbench.bench.run.session import Session
    from brokerbench.brokers.types import Endpoint

__all__ = ["brokerbench_session", "conformance", "endpoint_of", "engine_of", "test_conformance"]

Verdicts = Mapping[str, "Future[Mapping[str, Result]]"]
"""By profile, then by check."""
_CASE = "conformance_case"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--brokerbench-engine",
        default="native",
        choices=("auto", "native", "docker", "external"),
        help="how brokerbench provides brokers for conformance tests (default: native)",
    )


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if metafunc.definition.originalname != test_conformance.__name__ or _CASE not in metafunc.fixturenames:
        return
    from brokerbench.bench.conformance import CHECKS

    profiles = getattr(metafunc.module, "PROFILES", None)
    if not profiles:
        raise pytest.UsageError(f"{metafunc.module.__name__}: PROFILES must name the profiles to verify")
    cases = [(profile, check.name) for profile in profiles for check in CHECKS]
    metafunc.parametrize(_CASE, cases, ids=[f"{profile}-{check}" for profile, check in cases])


@pytest.fixture(scope="session")
def brokerbench_session(pytestconfig: pytest.Config) -> Iterator[Session]:
    """The engines of the tests. The guard also removes the channels of a killed session from an external endpoint."""
    from brokerbench.bench.engines.base import EngineChoice
    from brokerbench.bench.run.session import open_session

    choice = EngineChoice(pytestconfig.getoption("--brokerbench-engine"))
    with open_session(choice, f"test-{os.getpid()}") as session:
        yield session


@pytest.fixture(scope="session")
def engine_of(brokerbench_session: Session) -> Callable[[str], RunningEngine]:
    """``engine_of("kafka")``: a running engine, started on first use, stopped at the end of the session."""
    return brokerbench_session.engine


@pytest.fixture(scope="session")
def endpoint_of(engine_of: Callable[[str], RunningEngine]) -> Callable[[str], Endpoint]:
    """``endpoint_of("kafka")``: how to reach the running engine."""
    return lambda broker: engine_of(broker).endpoint


@pytest.fixture(scope="session")
def conformance(request: pytest.FixtureRequest, brokerbench_session: Session) -> Iterator[Verdicts]:
    """The verdicts of the checks that the session's tests ask for, on all their profiles.

    Checks mostly wait, so they run side by side: those of one profile, and profiles on different engines.
    """
    from brokerbench.brokers import registry

    wanted: dict[str, list[str]] = {}
    for item in request.session.items:
        if case := getattr(getattr(item, "callspec", None), "params", {}).get(_CASE):
            wanted.setdefault(case[0], []).append(case[1])
    by_engine: dict[str, list[str]] = {}
    for profile in wanted:
        by_engine.setdefault(registry.adapter(profile).broker or profile, []).append(profile)
    verdicts: dict[str, Future[Mapping[str, Result]]] = {profile: Future() for profile in wanted}

    def work(profiles: Sequence[str]) -> None:
        for profile in profiles:
            try:
                verdicts[profile].set_result(_verify(brokerbench_session, profile, wanted[profile]))
            except Exception as problem:
                verdicts[profile].set_exception(problem)

    with ThreadPoolExecutor(max(1, len(by_engine)), "conformance") as pool:
        for profiles in by_engine.values():
            pool.submit(work, profiles)
        yield verdicts


def _verify(session: Session, profile: str, names: Sequence[str]) -> Mapping[str, Result]:
    from brokerbench.bench import conformance
    from brokerbench.bench.commands import verify

    context = verify.context(session, profile)
    checks = [check for check in conformance.CHECKS if check.name in names]
    return {result.name: result for result in conformance.run(context, checks)}


def test_conformance(conformance_case: tuple[str, str], conformance: Verdicts) -> None:
    """The adapter does what the check's sentence says."""
    from brokerbench.bench.conformance import Status

    profile, check = conformance_case
    result = conformance[profile].result()[check]
    if result.status is Status.SKIPPED:
        pytest.skip(result.detail)
    if result.status is Status.FAILED:
        pytest.fail(f"{result.sentence}: {result.detail}", pytrace=False)
