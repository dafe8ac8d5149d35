"""Was a message delivered that should not exist?

Two sorts, counted apart: a delivery of a message that this run never sent to this channel, and a delivery of a send
that the broker had rejected. Sends of unknown fate may be delivered.
"""

from __future__ import annotations

import numpy as np

from brokerbench.brokers.types import Outcome
from brokerbench.scenarios.checkers.index.channel_index import MAX_OFFENDERS, ChannelIndex, Delivered
from brokerbench.scenarios.history.stamp import CORRUPT
from brokerbench.scenarios.verdicts import Count, Counts, Finding


def phantoms(index: ChannelIndex, delivered: Delivered) -> Finding:
    """``delivery.no_phantom``; observations are all deliveries."""
    message = delivered.message
    never_sent = (message < 0) & (delivered.column("status") != CORRUPT)
    rejected = np.zeros(len(delivered), bool)
    known = np.flatnonzero(message >= 0)
    rejected[known] = index.sent.outcome[message[known]] == Outcome.REJECTED
    bad = np.flatnonzero(never_sent | rejected)
    return Finding(
        "delivery.no_phantom",
        observations=len(delivered),
        violations=len(bad),
        offenders=tuple(
            {"kind": "never sent" if message[at] < 0 else "rejected", **index.describe(delivered, at)}
            for at in bad[:MAX_OFFENDERS].tolist()
        ),
        remarks=(Counts(((Count.NEVER_SENT, int(never_sent.sum())), (Count.REJECTED, int(rejected.sum())))),),
    )
