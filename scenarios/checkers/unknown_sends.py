"""Which sends have an unknown fate? They are named, so that nobody counts them as lost or as taken."""

from __future__ import annotations

import numpy as np

from brokerbench.brokers.types import Outcome
from brokerbench.scenarios.checkers.index.channel_index import MAX_OFFENDERS, ChannelIndex
from brokerbench.scenarios.verdicts import Finding


def unknown(record: ChannelIndex) -> Finding:
    """``send.settled``; observations are all sends, violations those that nothing settled as taken or rejected."""
    open_ = np.flatnonzero(record.sent.outcome == Outcome.UNKNOWN)
    return Finding(
        "send.settled",
        observations=len(record.sent),
        violations=len(open_),
        offenders=tuple(record.sent.describe(message) for message in open_[:MAX_OFFENDERS].tolist()),
    )
