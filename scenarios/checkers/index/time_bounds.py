"""When something can have happened, at the earliest and at the latest, and what came again."""

from __future__ import annotations

import numpy as np

from brokerbench.scenarios.checkers.index.channel_index import NEVER, ChannelIndex, Delivered, Ids
from brokerbench.scenarios.history import Action, Column


def done_ns(record: ChannelIndex, delivered: Delivered) -> Ids:
    """By message: when the first acknowledgement of any of its deliveries was answered with yes; NEVER where none.

    Not to be written to.
    """
    if len(record.sent) not in delivered.done_ns:
        answered = record.settled(delivered, Action.ACKNOWLEDGE).settled_ns
        done = np.full(len(record.sent), NEVER, np.int64)
        known = delivered.message >= 0
        np.minimum.at(done, delivered.message[known], answered[known])
        delivered.done_ns[len(record.sent)] = done
    return delivered.done_ns[len(record.sent)]


def call_began_ns(record: ChannelIndex, delivered: Delivered, which: Ids) -> Ids:
    """The earliest moment at which the receive call of each of these deliveries can have begun.

    A reader's calls are sequential: a call began after everything that its reader did before, and after its mark.
    """
    began = np.zeros(len(which), np.int64)
    reader = delivered.column("reader")[which]
    received = delivered.column("received_ns")[which]
    for number in np.unique(reader).tolist():
        opened = max(int(mark.get("at_ns", 0)) for mark in record.history.events("reader", reader=number))
        events = record.events_ns(number)
        ours = np.flatnonzero(reader == number)
        at = np.searchsorted(events, received[ours], side="left") - 1
        before = events[np.maximum(at, 0)] if len(events) else np.zeros(len(ours), np.int64)
        began[ours] = np.maximum(np.where(at >= 0, before, 0), opened)
    return began


def sent_ns(record: ChannelIndex) -> Column:
    """By message: when it was handed to ``send``."""
    sent: Column = record.history.sends["sent_ns"][record.numbers.rows]
    return sent


def settled_ns(record: ChannelIndex) -> Ids:
    """By message: when its fate was learned; NEVER where it was not."""
    history, ids = record.history, record.outcome_ids
    settled = np.full(len(record.sent), NEVER, np.int64)
    settled[ids[ids >= 0]] = history.send_outcomes["settled_ns"][ids >= 0]
    return settled
