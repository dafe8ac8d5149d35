"""Everything that this package raises on purpose.

::

    BrokerError
    ├── Unsupported          the broker (or its client) cannot do this; never emulated in silence
    ├── Misuse               the caller broke the interface's contract (also a ValueError)
    │   └── TooLarge         one message or batch exceeds a declared limit
    ├── UnknownProfile       no adapter of that name (carries the names that exist)
    ├── AdapterUnavailable   an adapter exists but its library does not import (carries a hint)
    ├── ChannelMissing       the channel was never created, or is gone
    ├── Unreachable          the broker does not answer: the fate of the operation is unknown
    └── Refused              the broker answered, and said no

A time-out is *not* an error of a single message: its outcome is ``Outcome.UNKNOWN`` in the
settlement columns. Messages never contain credentials.
"""

from __future__ import annotations

from difflib import get_close_matches


class BrokerError(Exception):
    """Root of the tree."""


class Unsupported(BrokerError):
    """The broker or its client lacks this. ``reason`` is fit for a report."""

    def __init__(self, operation: str, reason: str) -> None:
        super().__init__(f"{operation}: {reason}")
        self.operation = operation
        self.reason = reason


class Misuse(BrokerError, ValueError):
    """The call itself was wrong, with any broker."""


class TooLarge(Misuse):
    """A message or batch is larger than the profile's declared limit."""


class UnknownProfile(BrokerError):
    """No adapter is registered under that name."""

    def __init__(self, profile: str, known: tuple[str, ...]) -> None:
        near = get_close_matches(profile, known, n=1)
        hint = f"did you mean {near[0]!r}? " if near else ""
        super().__init__(f"unknown profile {profile!r}; {hint}known: {', '.join(known)}")
        self.profile = profile
        self.known = known


class AdapterUnavailable(BrokerError):
    """The adapter's client library is missing or broken."""


class ChannelMissing(BrokerError):
    """The channel does not exist on the broker."""


class Unreachable(BrokerError):
    """No answer from the broker within the time-out."""


class Refused(BrokerError):
    """The broker answered with an error."""
