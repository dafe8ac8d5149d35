"""The conformance kit: what an adapter must do, whatever its broker, told from its own declaration.

``CHECKS`` is the list, ``run`` runs it against a ``Context``. ``brokerbench verify`` and the pytest plugin
(``brokerbench.bench.pytest_plugin``) only provide the context. Knows the interface, no adapter.
"""

from brokerbench.bench.conformance.catalogue import CHECKS
from brokerbench.bench.conformance.model import Check, Context, Result, Skipped, Status
from brokerbench.bench.conformance.running import run

__all__ = ["CHECKS", "Check", "Context", "Result", "Skipped", "Status", "run"]
