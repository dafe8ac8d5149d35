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

CHECKS: tuple[Check, ...] = (
    *declaration.CHECKS,
    *sending.CHECKS,
    *receiving.CHECKS,
    *settling.CHECKS,
    *groups.CHECKS,
    *replay_and_retention.CHECKS,
    *lifetime.CHECKS,
)
"""All checks, in the order in which they are shown."""

__all__ = ["CHECKS", "Check", "Context", "Result", "Skipped", "Status", "run"]
