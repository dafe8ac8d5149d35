"""Does the broker count the deliveries of a message rightly?

The n-th delivery of a message to a group carries the number n. Deliveries that a reader was given and could not write
down (it was killed) leave gaps in what was seen: then only numbers that come twice are wrong for certain.
"""

from __future__ import annotations

import numpy as np

from brokerbench.brokers.types import UNKNOWN_COUNT
from brokerbench.scenarios.checkers.index.channel_index import MAX_OFFENDERS, ChannelIndex, Delivered, Ids, Mask
from brokerbench.scenarios.history import Column
from brokerbench.scenarios.verdicts import Finding


def counted(record: ChannelIndex, delivered: Delivered, *, all_seen: bool) -> Finding:
    """``delivery.count`` for ``delivered`` to *one* group. Observations are deliveries that carry a number.

    Of each message the numbers are compared in ascending order: two readers' times may blur which came first.
    ``all_seen``: no reader was lost with deliveries that it had not written down.
    """
    delivered = delivered.known()
    message, number = delivered.message, delivered.column("delivery_count")
    silent = np.zeros(len(record.sent), bool)
    silent[message[number == UNKNOWN_COUNT]] = True
    told = ~silent[message]
    seen, repeated = _ranks(message, number, told)
    wrong = told & ((number != seen) if all_seen else (repeated | (number < 1)))
    bad = np.flatnonzero(wrong)
    return Finding(
        "delivery.count",
        observations=int(told.sum()),
        violations=len(bad),
        unknown=int((~told).sum()),
        offenders=tuple(
            {
                **record.sent.describe(int(message[at])),
                **delivered.describe(at),
                "delivery_count": int(number[at]),
                "seen": int(seen[at]),
            }
            for at in bad[:MAX_OFFENDERS].tolist()
        ),
        remarks=() if all_seen else ("some deliveries may not have been written down",),
    )


def _ranks(message: Ids, number: Column, told: Mask) -> tuple[Ids, Mask]:
    """Which delivery of its message each is, by number, and whether its number came before. Few are sorted."""
    nth = np.ones(len(message), np.int64)
    same = np.zeros(len(message), bool)
    often = np.bincount(message) > 1
    repeated = np.flatnonzero(told & often[message])
    order = repeated[np.lexsort([number[repeated], message[repeated]])]
    starts = np.flatnonzero(np.diff(message[order], prepend=-1))
    nth[order] = np.arange(len(order)) - np.repeat(starts, np.diff(starts, append=len(order))) + 1
    same[order[1:]] = (message[order[1:]] == message[order[:-1]]) & (number[order[1:]] == number[order[:-1]])
    return nth, same
