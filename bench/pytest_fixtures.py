"""Brokers for anybody's own tests: the fixtures ``broker`` and ``channel``, on whatever profile the command line names.

One line in the ``conftest.py`` of the tests' root::

    pytest_plugins = ["brokerbench.bench.pytest_fixtures"]

and ``pytest --profile kafka --engine native`` runs every test that asks for ``broker`` or ``channel`` on Kafka; several
``--profile`` run it on each. An engine is started once a session, on loopback, and is gone with it; a channel goes with
its test. Not loaded wherever brokerbench is installed: ``--profile`` is a common name of an option.
"""

from __future__ import annotations

import os
import uuid
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from brokerbench.bench.engines.base import RunningEngine
    from brokerbench.brokers.protocols import Broker
    from brokerbench.brokers.types import Endpoint
    from brokerbench.scenarios.results import Engine

__all__ = ["Site", "broker", "brokerbench_site", "channel", "new_channel"]

_PROFILE = "brokerbench_profile"
_REFERENCE = "memory"


@dataclass(frozen=True, slots=True)
class Site:
    """Where the tests of one profile run. ``engine`` is what answers there, as a result would carry it."""

    profile: str
    endpoint: Endpoint
    engine: Engine


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("brokerbench")
    group.addoption(
        "--profile",
        action="append",
        dest=_PROFILE,
        help="the profile that the fixtures broker and channel are of; repeatable (default: memory, the reference)",
    )
    group.addoption(
        "--engine",
        dest="brokerbench_engine",
        default="native",
        choices=("auto", "native", "docker", "external"),
        help="the same as --brokerbench-engine",
    )


def pytest_report_header(config: pytest.Config) -> str:
    return f"brokerbench: {', '.join(_profiles(config))}, engine {config.getoption('--engine')}"


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if _PROFILE in metafunc.fixturenames:
        metafunc.parametrize(_PROFILE, _profiles(metafunc.config), scope="session")


def _profiles(config: pytest.Config) -> list[str]:
    """Raises UsageError for one that nobody knows."""
    from brokerbench.brokers import registry
    from brokerbench.brokers.errors import UnknownProfile

    wanted = list(dict.fromkeys(config.getoption(_PROFILE) or [_REFERENCE]))
    for profile in wanted:
        try:
            registry.adapter(profile)
        except UnknownProfile as problem:
            raise pytest.UsageError(f"--profile {profile}: {problem}") from None
    return wanted


@pytest.fixture(scope="session")
def brokerbench_site(brokerbench_profile: str, engine_of: Callable[[str], RunningEngine]) -> Site:
    """The profile's endpoint, once a message has come through."""
    from brokerbench.bench.run import readiness
    from brokerbench.brokers import registry
    from brokerbench.brokers.types import Endpoint
    from brokerbench.scenarios.results import Engine
    from brokerbench.scenarios.verdicts import Grade

    name = registry.adapter(brokerbench_profile).broker
    if name is None:
        endpoint = Endpoint(brokerbench_profile, f"{brokerbench_profile}://{_prefix()}")
        version = readiness.prove(brokerbench_profile, endpoint, f"{_prefix()}ready")
        engine = Engine(
            name=brokerbench_profile,
            product=brokerbench_profile,
            version=version,
            kind="in-process",
            grade=Grade.MODEL,
            settings={},
        )
        return Site(brokerbench_profile, endpoint, engine)
    running = engine_of(name)
    version = readiness.prove(brokerbench_profile, running.endpoint, f"{_prefix()}ready-{uuid.uuid4().hex[:8]}")
    engine = Engine(
        name=name,
        product=running.spec.product,
        version=version,
        kind=running.kind.value,
        grade=running.grade,
        settings=dict(running.settings),
    )
    return Site(brokerbench_profile, running.endpoint, engine)


@pytest.fixture
def broker(brokerbench_site: Site) -> Iterator[Broker]:
    """A connection of the test's own."""
    from brokerbench.brokers import registry

    connected = registry.connect(brokerbench_site.profile, brokerbench_site.endpoint)
    yield connected
    connected.close()


@pytest.fixture
def new_channel(brokerbench_site: Site, broker: Broker) -> Iterator[Callable[..., str]]:
    """``new_channel(partitions=3)`` makes a channel by a ``ChannelSpec`` and gives its name."""
    from brokerbench.brokers import registry
    from brokerbench.brokers.errors import BrokerError
    from brokerbench.brokers.types import ChannelSpec

    made: list[str] = []

    def make(**spec: Any) -> str:
        name = f"{_prefix()}{uuid.uuid4().hex[:12]}"
        broker.create_channel(ChannelSpec(name, **spec))
        made.append(name)
        return name

    yield make
    broker.close()
    cleaner = registry.connect(brokerbench_site.profile, brokerbench_site.endpoint)
    for name in reversed(made):
        with suppress(BrokerError):
            cleaner.delete_channel(name)
    cleaner.close()


@pytest.fixture
def channel(new_channel: Callable[..., str]) -> str:
    """The name of a new channel, of one partition where the profile has such."""
    return new_channel()


def _prefix() -> str:
    """What the session's guard removes from an engine that somebody else runs, should the session be killed."""
    from brokerbench.bench.engines.start import channel_prefix

    return channel_prefix(f"test-{os.getpid()}")
