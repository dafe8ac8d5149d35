"""Brokers for any project's tests: the fixtures ``broker`` and ``channel``, on the profiles of the command line.

One line in the ``conftest.py`` of the tests' root::

    pytest_plugins = ["brokerbench.bench.pytest_fixtures"]

and ``pytest --profile kafka --engine native`` runs every test that asks for ``broker`` or ``channel`` on Kafka; several
``--profile`` run it on each. An engine is started once a session, on loopback, and is gone with it; a channel goes with
its test. Not loaded wherever brokerbench is installed: ``--profile`` is a common name of an option.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from brokerbench.bench.run.session import Session, Site
    from brokerbench.brokers.protocols import Broker

__all__ = ["broker", "brokerbench_site", "channel", "new_channel"]

_PROFILE = "brokerbench_profile"
_REFERENCE = "memory"


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
    """Raises UsageError for an unknown profile."""
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
def brokerbench_site(brokerbench_profile: str, brokerbench_session: Session) -> Site:
    """Where the profile runs, once a message has passed through."""
    return brokerbench_session.ready(brokerbench_profile)


@pytest.fixture
def broker(brokerbench_site: Site) -> Iterator[Broker]:
    """A connection for one test."""
    from brokerbench.brokers import registry

    connected = registry.connect(brokerbench_site.profile, brokerbench_site.endpoint)
    yield connected
    connected.close()


@pytest.fixture
def new_channel(brokerbench_session: Session, brokerbench_site: Site, broker: Broker) -> Iterator[Callable[..., str]]:
    """``new_channel(partitions=3)`` makes a channel by a ``ChannelSpec`` and gives its name."""
    from brokerbench.brokers import registry
    from brokerbench.brokers.errors import BrokerError
    from brokerbench.brokers.types import ChannelSpec

    made: list[str] = []

    def make(**spec: Any) -> str:
        name = f"{brokerbench_session.prefix}{uuid.uuid4().hex[:12]}"
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
