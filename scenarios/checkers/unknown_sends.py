"""Which sends have an unknown fate? A finding names them; no other checker counts them as lost or as taken."""

from __future__ import annotations

import numpy as np

from brokerbench.brokers.types import Outcome
from brokerbench.scenarios.checkers.index.channel_index import MAX_OFFENDERS, ChannelIndex
from brokerbench.scenarios.verdicts import Finding


def unknown(index: ChannelIndex) -> Finding:
    """``send.settled``; observations are all sends, violations those whose fate is unknown."""
    open_ = np.flatnonzero(index.sent.outcome == Outcome.UNKNOWN)
    return Finding(
        "send.settled",
        observations=len(index.sent),
        violations=len(open_),
        offenders=tuple(index.sent.describe(message) for message in open_[:MAX_OFFENDERS].tolist()),
    )
