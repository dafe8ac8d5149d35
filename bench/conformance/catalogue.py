"""All checks, in the order in which they are shown."""

from __future__ import annotations

from brokerbench.bench.conformance import (
    declaration,
    groups,
    lifetime,
    receiving,
    replay_and_retention,
    sending,
    settling,
)
from brokerbench.bench.conformance.model import Check

CHECKS: tuple[Check, ...] = (
    *declaration.CHECKS,
    *sending.CHECKS,
    *receiving.CHECKS,
    *settling.CHECKS,
    *groups.CHECKS,
    *replay_and_retention.CHECKS,
    *lifetime.CHECKS,
)
