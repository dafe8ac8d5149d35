"""Does the broker count the deliveries of a message correctly?

The n-th delivery of a message to a group carries the number n. A reader that was killed may have got deliveries that
it did not record: they leave gaps, and then only a number that occurs twice is certainly wrong.
"""

from __future__ import annotations

import numpy as np

from brokerbench.brokers.types import UNKNOWN_COUNT
from brokerbench.scenarios.checkers.index import promises
from brokerbench.scenarios.checkers.index.channel_index import ChannelIndex, Delivered, Ids, Mask, offenders
from brokerbench.scenarios.history import Column
from brokerbench.scenarios.verdicts import Finding


def of_group(index: ChannelIndex) -> Finding:
    """``delivery.count`` of the channel's one group of consumers, or of that which ``index`` is about.

    A client that fetches ahead may hold deliveries that it never returns, and that the broker counts.
    """
    consumed = index.delivered.to(index.consumers(**({"group": index.group} if index.group else {})))
    return counted(index, consumed, all_seen=not promises.of(index.history, index.channel).buffers_ahead)


def counted(index: ChannelIndex, delivered: Delivered, *, all_seen: bool) -> Finding:
    """``delivery.count`` for ``delivered`` to *one* group. Observations are deliveries that carry a number.

    The numbers of each message are compared in ascending order, as the times of two readers may blur their order.
    ``all_seen``: no reader was lost with deliveries that it had not recorded.
    """
    delivered = delivered.known()
    message, number = delivered.message, delivered.column("delivery_count")
    silent = np.zeros(len(index.sent), bool)
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
        offenders=offenders(
            bad,
            lambda at: {**index.describe(delivered, at), "delivery_count": int(number[at]), "seen": int(seen[at])},
        ),
        remarks=() if all_seen else ("some deliveries may not have been written down",),
    )


def _ranks(message: Ids, number: Column, told: Mask) -> tuple[Ids, Mask]:
    """By delivery: its rank among those of its message by number, and whether its number occurred before.

    Only messages delivered more than once are sorted.
    """
    nth = np.ones(len(message), np.int64)
    same = np.zeros(len(message), bool)
    often = np.bincount(message) > 1
    repeated = np.flatnonzero(told & often[message])
    order = repeated[np.lexsort([number[repeated], message[repeated]])]
    starts = np.flatnonzero(np.diff(message[order], prepend=-1))
    nth[order] = np.arange(len(order)) - np.repeat(starts, np.diff(starts, append=len(order))) + 1
    same[order[1:]] = (message[order[1:]] == message[order[:-1]]) & (number[order[1:]] == number[order[:-1]])
    return nth, same
