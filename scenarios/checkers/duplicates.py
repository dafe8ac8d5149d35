"""Was a message delivered again after its acknowledgement?

A delivery counts against the broker only when it was *asked for* after the acknowledgement had been answered with yes,
in the same group. A reader's calls are sequential, so a call began after everything that its reader did before. A
delivery that was received after an acknowledgement by another consumer, but may have been on its way already, is left
out as unknown. Redeliveries of what was not acknowledged (released, rewound, lease ended) are legal, and counted apart
in the note.
"""

from __future__ import annotations

import numpy as np

from brokerbench.scenarios.checkers.index import time_bounds
from brokerbench.scenarios.checkers.index.channel_index import MAX_OFFENDERS, NEVER, ChannelIndex, Delivered, Ids
from brokerbench.scenarios.verdicts import Count, Counts, Finding


def delivered_again(record: ChannelIndex, delivered: Delivered) -> Finding:
    """``delivery.no_duplicate`` for ``delivered`` to *one* group. Observations are acknowledged messages."""
    delivered = delivered.known()
    done_ns = time_bounds.done_ns(record, delivered)
    limit_ns = done_ns[delivered.message]
    suspects = np.flatnonzero(delivered.column("received_ns") > limit_ns)
    surely = _call_began_after(record, delivered, suspects) >= limit_ns[suspects]
    bad = suspects[surely]
    seen = np.zeros(len(record.sent), bool)
    seen[delivered.message] = True
    more = len(delivered) - int(seen.sum())
    return Finding(
        "delivery.no_duplicate",
        observations=int((done_ns != NEVER).sum()),
        violations=len(bad),
        unknown=len(suspects) - len(bad),
        offenders=tuple(
            {
                **record.sent.describe(int(delivered.message[at])),
                **delivered.describe(at),
                "acknowledged_ns": int(limit_ns[at]),
            }
            for at in bad[:MAX_OFFENDERS].tolist()
        ),
        remarks=(Counts(((Count.LEGAL_REDELIVERIES, more - len(bad)),)),),
    )


def _call_began_after(record: ChannelIndex, delivered: Delivered, suspects: Ids) -> Ids:
    """A lower bound for when the receive call of each suspect began: the reader's last event before it."""
    began = np.zeros(len(suspects), np.int64)
    reader = delivered.column("reader")[suspects]
    received = delivered.column("received_ns")[suspects]
    for number in np.unique(reader).tolist():
        events = record.events_ns(number)
        ours = np.flatnonzero(reader == number)
        at = np.searchsorted(events, received[ours], side="left") - 1
        began[ours] = np.where(at >= 0, events[np.maximum(at, 0)], 0)
    return began
