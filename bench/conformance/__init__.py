"""The conformance kit: what an adapter must do on any broker, checked against its own declaration.

``CHECKS`` is the list, ``run`` runs it against a ``Context``. ``brokerbench verify`` and the pytest plugin
(``brokerbench.bench.pytest_plugin``) only provide the context. Knows the interface, no adapter.
"""

from brokerbench.bench.conformance import (
    declaration,
    groups,
    lifetime,
    receiving,
    replay_and_retention,
    sending,
    settling,
)
from brokerbench.bench.conformance.model import Check, Context, Result, Skipped, Status
from brokerbench.bench.conformance.running import run

_AREAS = (declaration, sending, receiving, settling, groups, replay_and_retention, lifetime)
CHECKS = tuple(found for area in _AREAS for found in vars(area).values() if isinstance(found, Check))
"""All checks, in the order in which they are shown."""

__all__ = ["CHECKS", "Check", "Context", "Result", "Skipped", "Status", "run"]
