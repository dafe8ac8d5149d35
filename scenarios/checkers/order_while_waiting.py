"""Does order per key hold while a message waits for its redelivery, after a release or the end of its lease?

``order`` compares first deliveries, and acknowledgements after a release. This check looks at every redelivery: from
the batch of a delivery until the next delivery of its message, no later message of its producer and key may be
delivered. Messages of the same batch were in the consumer's hands already. A redelivery after the acknowledgement
waited for nothing and overtakes nothing: it is left out (``duplicates``).
"""

from __future__ import annotations

import numpy as np

from brokerbench.brokers.types import Outcome
from brokerbench.scenarios.checkers.index.channel_index import ChannelIndex, Delivered, Ids, offenders
from brokerbench.scenarios.checkers.index.columns import Pairs
from brokerbench.scenarios.history.message_ids import rows_with, stable_order
from brokerbench.scenarios.verdicts import Finding


def in_order(name: str, index: ChannelIndex, delivered: Delivered, producers: list[int]) -> Finding:
    """Observations are redeliveries to *one* group of messages whose sends were acknowledged."""
    ours = index.sent.by(producers) & (index.sent.outcome == Outcome.ACKNOWLEDGED)
    delivered = delivered.known()
    open_ = delivered.done_ns[delivered.message] >= delivered.column("received_ns")
    delivered = delivered.only(ours[delivered.message] & open_)
    pairs = delivered.pairs
    overtaking = _overtaking(index, delivered, pairs)
    bad = np.flatnonzero(overtaking >= 0)
    return Finding(
        name,
        observations=len(pairs.later),
        violations=len(bad),
        unknown=index.sent.unknown(producers),
        offenders=offenders(
            bad,
            lambda row: {
                **index.describe(delivered, int(pairs.later[row])),
                "overtaken_by": index.describe(delivered, int(overtaking[row])),
            },
        ),
    )


def _overtaking(index: ChannelIndex, delivered: Delivered, pairs: Pairs) -> Ids:
    """For each pair the first delivery of a later message in between, or -1. Loops over pairs with such deliveries."""
    found = np.full(len(pairs.later), -1, np.int64)
    if not len(found):
        return found
    group = index.order_group[delivered.message]
    at = rows_with(group, group[pairs.later])
    at = at[stable_order(group[at])]
    group = group.astype(np.int64)
    width = len(delivered)
    codes = group[at] * width + at
    begins = np.searchsorted(codes, group[pairs.earlier] * width + _batch_ends(delivered)[pairs.earlier], side="right")
    ends = np.searchsorted(codes, group[pairs.later] * width + pairs.later)
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
