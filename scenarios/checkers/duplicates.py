"""Was a message delivered again after its acknowledgement?

A delivery counts against the broker only when it was *asked for* after the acknowledgement had been answered with yes,
in the same group. A reader's calls are sequential, so a call began after everything that its reader did before. A
delivery that was received after an acknowledgement by another consumer, but may have been on its way already, is left
out as unknown. Redeliveries of messages that were not acknowledged (released, rewound, lease ended) are legal, and
counted apart.
"""

from __future__ import annotations

import numpy as np

from brokerbench.scenarios.checkers.index import time_bounds
from brokerbench.scenarios.checkers.index.channel_index import MAX_OFFENDERS, NEVER, ChannelIndex, Delivered
from brokerbench.scenarios.verdicts import Count, Counts, Finding


def delivered_again(index: ChannelIndex, delivered: Delivered) -> Finding:
    """``delivery.no_duplicate`` for ``delivered`` to *one* group. Observations are acknowledged messages."""
    delivered = delivered.known()
    done_ns = delivered.done_ns
    limit_ns = done_ns[delivered.message]
    suspects = np.flatnonzero(delivered.column("received_ns") > limit_ns)
    surely = time_bounds.last_event_ns(index, delivered, suspects) >= limit_ns[suspects]
    bad = suspects[surely]
    seen = np.zeros(len(index.sent), bool)
    seen[delivered.message] = True
    more = len(delivered) - int(seen.sum())
    return Finding(
        "delivery.no_duplicate",
        observations=int((done_ns != NEVER).sum()),
        violations=len(bad),
        unknown=len(suspects) - len(bad),
        offenders=tuple(
            {**index.describe(delivered, at), "acknowledged_ns": int(limit_ns[at])}
            for at in bad[:MAX_OFFENDERS].tolist()
        ),
        remarks=(Counts(((Count.LEGAL_REDELIVERIES, more - len(bad)),)),),
    )
