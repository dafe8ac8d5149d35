"""All checks, in the order in which they are shown."""

from __future__ import annotations

from bench.conformance import sending
from bench.conformance.model import Check

CHECKS: tuple[Check, ...] = (*sending.CHECKS,)
