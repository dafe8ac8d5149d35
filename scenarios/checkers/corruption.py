"""Did payloads arrive byte for byte as sent?

A delivery is altered when its stamp does not verify, or when it verifies but is not what the sender wrote down
for that message (size, checksum). One whose stamp is destroyed is counted here where its place tells which message it
was; elsewhere it is counted as a phantom.
"""

from __future__ import annotations

import numpy as np

from brokerbench.scenarios.checkers.index.channel_index import MAX_OFFENDERS, ChannelIndex, Delivered
from brokerbench.scenarios.history.stamp import CORRUPT, INTACT
from brokerbench.scenarios.verdicts import Finding


def altered(record: ChannelIndex, delivered: Delivered, name: str = "delivery.intact") -> Finding:
    """Observations are deliveries that can be told to be of some message of this run."""
    sent, status, message = record.sent, delivered.column("status"), delivered.message
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
        offenders=tuple(_offender(record, delivered, at) for at in bad[:MAX_OFFENDERS].tolist()),
    )


def _offender(record: ChannelIndex, delivered: Delivered, at: int) -> dict[str, object]:
    message = int(delivered.message[at])
    known = record.sent.describe(message) if message >= 0 else {}
    return {
        **known,
        **delivered.describe(at),
        "size": int(delivered.column("size")[at]),
    }
