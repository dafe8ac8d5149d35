"""The earliest and the latest moments at which calls and sends can have happened."""

from __future__ import annotations

import numpy as np

from brokerbench.scenarios.checkers.index.channel_index import NEVER, ChannelIndex, Delivered, Ids
from brokerbench.scenarios.history import Column


def last_event_ns(index: ChannelIndex, delivered: Delivered, which: Ids) -> Ids:
    """When the reader of each of these deliveries last ended a call before it, or 0.

    A reader's calls are sequential: the receive call of the delivery began after everything that its reader did before.
    """
    last = np.zeros(len(which), np.int64)
    reader = delivered.column("reader")[which]
    received = delivered.column("received_ns")[which]
    for number in np.unique(reader).tolist():
        events = index.events_ns(number)
        ours = np.flatnonzero(reader == number)
        at = np.searchsorted(events, received[ours], side="left") - 1
        last[ours] = np.where(at >= 0, events[np.maximum(at, 0)], 0) if len(events) else 0
    return last


def call_began_ns(index: ChannelIndex, delivered: Delivered, which: Ids) -> Ids:
    """The earliest moment at which the receive call of each of these deliveries can have begun.

    That is after its reader's last event, and after the mark that names the reader.
    """
    began = last_event_ns(index, delivered, which)
    reader = delivered.column("reader")[which]
    for number in np.unique(reader).tolist():
        opened = max(int(mark.get("at_ns", 0)) for mark in index.history.events("reader", reader=number))
        ours = reader == number
        began[ours] = np.maximum(began[ours], opened)
    return began


def sent_ns(index: ChannelIndex) -> Column:
    """By message: when it was handed to ``send``."""
    sent: Column = index.history.sends["sent_ns"][index.numbers.rows]
    return sent


def settled_ns(index: ChannelIndex) -> Ids:
    """By message: when its outcome was learned; NEVER where it was not."""
    history, ids = index.history, index.outcome_ids
    settled = np.full(len(index.sent), NEVER, np.int64)
    settled[ids[ids >= 0]] = history.send_outcomes["settled_ns"][ids >= 0]
    return settled
