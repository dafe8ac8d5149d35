"""The conformance kit: what an adapter must do, whatever its broker, told from its own declaration.

``CHECKS`` is the list, ``run`` runs it against a ``Context``. ``brokerbench verify`` and the pytest plugin
(``bench.pytest_plugin``) only provide the context. Knows the interface, no adapter.
"""

from bench.conformance.catalogue import CHECKS
from bench.conformance.model import Check, Context, Result, Skipped, Status
from bench.conformance.running import run

__all__ = ["CHECKS", "Check", "Context", "Result", "Skipped", "Status", "run"]
