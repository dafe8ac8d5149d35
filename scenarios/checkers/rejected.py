"""Was anything delivered whose send the broker had rejected?

``phantom`` counts these among everything that should not exist; here they stand alone. Sends of unknown fate may be
delivered or not: they are left out, and counted as unknown.
"""

from __future__ import annotations

import numpy as np

from brokerbench.brokers.types import Outcome
from brokerbench.scenarios.checkers.index.channel_index import MAX_OFFENDERS, ChannelIndex, Delivered
from brokerbench.scenarios.verdicts import Finding


def delivered_all_the_same(record: ChannelIndex, delivered: Delivered) -> Finding:
    """``delivery.no_rejected``; observations are deliveries of messages whose send was answered."""
    delivered = delivered.known()
    outcome = record.sent.outcome[delivered.message]
    bad = np.flatnonzero(outcome == Outcome.REJECTED)
    unknown = int((outcome == Outcome.UNKNOWN).sum())
    return Finding(
        "delivery.no_rejected",
        observations=len(delivered) - unknown,
        violations=len(bad),
        unknown=unknown,
        offenders=tuple(
            {**record.sent.describe(int(delivered.message[at])), **delivered.describe(at)}
            for at in bad[:MAX_OFFENDERS].tolist()
        ),
    )
