"""All checks, in the order in which they are shown."""

from __future__ import annotations

from bench.conformance import declaring, keeping, lasting, receiving, sending, settling, sharing
from bench.conformance.model import Check

CHECKS: tuple[Check, ...] = (
    *declaring.CHECKS,
    *sending.CHECKS,
    *receiving.CHECKS,
    *settling.CHECKS,
    *sharing.CHECKS,
    *keeping.CHECKS,
    *lasting.CHECKS,
)
