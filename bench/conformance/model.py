"""A check, its context, and its result."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from enum import StrEnum

from brokerbench.brokers.declarations import ProfileDeclaration, Support
from brokerbench.brokers.protocols import Broker

SHORTEST_LEASE_S = 2.0
"""In seconds. On a busy machine a shorter lease ends before a check has settled its deliveries."""


@dataclass(frozen=True, slots=True)
class Context:
    """The adapter under test.

    ``connect`` makes a new connection at each call. ``prefix`` begins the names of all channels that checks create
    (and delete). ``restart`` stops the broker in order, starts it again at the same address, and returns when it
    listens; within ``pause()`` the broker answers nothing; both are None for a broker that is not ours.
    ``patience_s`` is the longest wait for a message that must come; no check judges how long it took.
    """

    connect: Callable[[], Broker]
    declaration: ProfileDeclaration
    prefix: str
    restart: Callable[[], None] | None = None
    pause: Callable[[], AbstractContextManager[None]] | None = None
    patience_s: float = 30.0

    @property
    def has_leases(self) -> bool:
        return self.declaration.limits.lease_min_s is not None

    @property
    def lease_s(self) -> float:
        """The shortest lease that checks wait for."""
        return max(self.declaration.limits.lease_min_s or 0.0, SHORTEST_LEASE_S)

    @property
    def once(self) -> bool:
        """Each message may be asked to come once only where the profile guarantees it."""
        return self.support("delivery.no_duplicate") is Support.GUARANTEED

    def support(self, property_name: str) -> Support:
        return self.declaration.of(property_name).support


@dataclass(frozen=True, slots=True)
class Skipped:
    """The check does not apply here; ``reason`` is fit for a report."""

    reason: str


class Violated(Exception):
    """The adapter does not do what the check asks; the message says what was seen."""


@dataclass(frozen=True, slots=True)
class Check:
    """One demand. ``name`` is ``area.subject``; ``sentence`` says what an adapter does that passes.

    ``function`` returns None (passed) or Skipped, and raises Violated or the adapter's error.
    ``disruptive`` ones stop the broker: they run alone, after all others.
    """

    name: str
    sentence: str
    function: Callable[[Context], Skipped | None]
    disruptive: bool = False


def check(
    name: str, sentence: str, *, disruptive: bool = False
) -> Callable[[Callable[[Context], Skipped | None]], Check]:
    """The decorated function as a Check."""
    return lambda function: Check(name, sentence, function, disruptive)


class Status(StrEnum):
    PASSED = "passed"
    FAILED = "failed"
    SKIPPED = "skipped"


@dataclass(frozen=True, slots=True)
class Result:
    """``detail``: why it failed or was skipped; empty when it passed."""

    name: str
    sentence: str
    status: Status
    detail: str
    seconds: float


def expect(holds: bool, otherwise: str) -> None:
    """Raises Violated."""
    if not holds:
        raise Violated(otherwise)
