"""Was a message delivered whose send the broker had rejected?

``phantom`` counts these among all deliveries that should not exist; here they stand alone. Deliveries of sends of
unknown fate are left out, and counted as unknown.
"""

from __future__ import annotations

import numpy as np

from brokerbench.brokers.types import Outcome
from brokerbench.scenarios.checkers.index.channel_index import MAX_OFFENDERS, ChannelIndex, Delivered
from brokerbench.scenarios.verdicts import Finding


def delivered_all_the_same(index: ChannelIndex, delivered: Delivered) -> Finding:
    """``delivery.no_rejected``; observations are deliveries of messages whose send was answered."""
    delivered = delivered.known()
    outcome = index.sent.outcome[delivered.message]
    bad = np.flatnonzero(outcome == Outcome.REJECTED)
    unknown = int((outcome == Outcome.UNKNOWN).sum())
    return Finding(
        "delivery.no_rejected",
        observations=len(delivered) - unknown,
        violations=len(bad),
        unknown=unknown,
        offenders=tuple(index.describe(delivered, at) for at in bad[:MAX_OFFENDERS].tolist()),
    )
