"""Did payloads arrive byte for byte as sent?

A delivery is altered when its stamp does not verify, or when it verifies but differs from the send of that message
(size, checksum). A delivery with a destroyed stamp counts here where its place tells its message; elsewhere it counts
as a phantom.
"""

from __future__ import annotations

import numpy as np

from brokerbench.scenarios.checkers.index.channel_index import MAX_OFFENDERS, ChannelIndex, Delivered
from brokerbench.scenarios.history.stamp import CORRUPT, INTACT
from brokerbench.scenarios.verdicts import Finding


def altered(index: ChannelIndex, delivered: Delivered, name: str = "delivery.intact") -> Finding:
    """``delivery.intact``. Observations are deliveries that are known to be of a message of this run."""
    sent, status, message = index.sent, delivered.column("status"), delivered.message
    ours = (message >= 0) | (status == CORRUPT)
    same = np.zeros(len(delivered), bool)
    intact = np.flatnonzero((status == INTACT) & (message >= 0))
    ids = message[intact]
    same[intact] = (delivered.column("size")[intact] == sent.size[ids]) & (
        delivered.column("checksum")[intact] == sent.checksum[ids]
    )
    bad = np.flatnonzero(ours & ~same)
    return Finding(
        name,
        observations=int(ours.sum()),
        violations=len(bad),
        offenders=tuple(
            {**index.describe(delivered, at), "size": int(delivered.column("size")[at])}
            for at in bad[:MAX_OFFENDERS].tolist()
        ),
    )
