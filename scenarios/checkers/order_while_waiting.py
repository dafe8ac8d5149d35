"""Does order per key hold while a message waits to come again, whether it was released or its lease ended?

``order`` compares first deliveries, and what was acknowledged after a release. Here every redelivery is looked at: from
the batch of a delivery until its message comes again, no later message of its producer and key may be delivered.
Those of the same batch were in hand already; what became of them is the consumer's doing. What comes after its
acknowledgement waited for nothing and overtakes nothing: it is left out (``duplicates``).
"""

from __future__ import annotations

import numpy as np

from brokerbench.brokers.types import Outcome
from brokerbench.scenarios.checkers.index import time_bounds
from brokerbench.scenarios.checkers.index.channel_index import MAX_OFFENDERS, ChannelIndex, Delivered, Ids
from brokerbench.scenarios.checkers.index.columns import Pairs
from brokerbench.scenarios.history.message_ids import rows_with, stable_order
from brokerbench.scenarios.verdicts import Finding


def in_order(name: str, record: ChannelIndex, delivered: Delivered, producers: list[int]) -> Finding:
    """Observations are redeliveries to *one* group of messages whose sends were acknowledged."""
    ours = record.sent.by(producers) & (record.sent.outcome == Outcome.ACKNOWLEDGED)
    delivered = delivered.known()
    open_ = time_bounds.done_ns(record, delivered)[delivered.message] >= delivered.column("received_ns")
    delivered = delivered.only(ours[delivered.message] & open_)
    pairs = delivered.pairs
    overtaking = _overtaking(record, delivered, pairs)
    bad = np.flatnonzero(overtaking >= 0)
    return Finding(
        name,
        observations=len(pairs.later),
        violations=len(bad),
        unknown=int((record.sent.by(producers) & (record.sent.outcome == Outcome.UNKNOWN)).sum()),
        offenders=tuple(
            {
                **record.sent.describe(int(delivered.message[pairs.later[row]])),
                **delivered.describe(int(pairs.later[row])),
                "overtaken_by": {
                    **record.sent.describe(int(delivered.message[overtaking[row]])),
                    **delivered.describe(int(overtaking[row])),
                },
            }
            for row in bad[:MAX_OFFENDERS].tolist()
        ),
    )


def _overtaking(record: ChannelIndex, delivered: Delivered, pairs: Pairs) -> Ids:
    """For each pair the first delivery of a later message in between, or -1. Few are looked at one by one."""
    found = np.full(len(pairs.later), -1, np.int64)
    if not len(found):
        return found
    line = record.line[delivered.message]
    at = rows_with(line, line[pairs.later])
    at = at[stable_order(line[at])]
    line = line.astype(np.int64)
    width = len(delivered)
    codes = line[at] * width + at
    begins = np.searchsorted(codes, line[pairs.earlier] * width + _batch_ends(delivered)[pairs.earlier], side="right")
    ends = np.searchsorted(codes, line[pairs.later] * width + pairs.later)
    message = delivered.message[at]
    for row in np.flatnonzero(ends > begins).tolist():
        between = slice(begins[row], ends[row])
        later = np.flatnonzero(message[between] > delivered.message[pairs.later[row]])
        if len(later):
            found[row] = at[between][later[0]]
    return found


def _batch_ends(delivered: Delivered) -> Ids:
    """For each delivery the last one of its batch: batches stand together in order of delivery."""
    reader, batch = delivered.column("reader"), delivered.column("batch")
    last = np.flatnonzero((reader[1:] != reader[:-1]) | (batch[1:] != batch[:-1]))
    ends = np.append(last, len(batch) - 1)
    return np.repeat(ends, np.diff(ends, prepend=-1))
