"""One channel of a history, put in order once, for all checkers.

Messages have an *id*: sends of the channel numbered from 0 by (producer, seq). As ``seq`` has no gaps an id is a
sum, and joining deliveries to sends is one gather instead of a sort. Deliveries are in *order of delivery*: by
the time of their batch, then reader, batch and slot, however the history was split into files. Columns are gathered
when they are asked for, so that a large history is not held twice; results that several checkers need (first
deliveries, settlements) are derived once and kept.

The stamp of a damaged delivery does not tell its message reliably: the delivery is attributed by its place, where the
channel has places, and to no message (-1) otherwise.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np

from brokerbench.brokers.types import NO_PLACE, NO_TIME, Outcome
from brokerbench.scenarios.checkers.index import order_groups
from brokerbench.scenarios.checkers.index.columns import NEVER as NEVER
from brokerbench.scenarios.checkers.index.columns import Delivered as Delivered
from brokerbench.scenarios.checkers.index.columns import Identities, Reach, Settlements, reach_of
from brokerbench.scenarios.checkers.index.columns import Mask as Mask
from brokerbench.scenarios.checkers.index.columns import Sent as Sent
from brokerbench.scenarios.checkers.index.columns import Whole as Whole
from brokerbench.scenarios.checkers.index.columns import identities as identities_of
from brokerbench.scenarios.checkers.index.order_groups import OrderGroups
from brokerbench.scenarios.history import Column, Columns, History, message_ids, strongest
from brokerbench.scenarios.history.message_ids import Ids as Ids
from brokerbench.scenarios.history.stamp import INTACT

MAX_OFFENDERS = 10


def offenders(bad: Ids, describe: Callable[[int], Mapping[str, object]]) -> tuple[Mapping[str, object], ...]:
    """The first of ``bad``, each as ``describe`` tells it."""
    return tuple(map(describe, bad[:MAX_OFFENDERS].tolist()))


@dataclass(eq=False)
class ChannelIndex:
    """All that happened on one channel. Keeps the results that several checkers derive from it."""

    history: History
    channel: str
    numbers: message_ids.Numbers
    outcome_ids: Ids
    """For each row of the history's settled sends its message, or -1."""
    sent: Sent
    delivered: Delivered
    last_sent_ns: int
    whole: Whole | None = None
    """Where the history is a shard."""
    group: str = ""
    """Where it is of one group among several."""
    _consumers: dict[tuple[tuple[str, object], ...], list[int]] = field(default_factory=dict, init=False, repr=False)

    def by_group(self) -> list[ChannelIndex]:
        """An index for each group of consumers, with the deliveries to it; this one where there are not several."""
        groups = self.history.groups(channel=self.channel)
        if len(groups) < 2:
            return [self]
        return [replace(self, delivered=self.delivered.to(readers), group=group) for group, readers in groups.items()]

    def consumers(self, **attributes: object) -> list[int]:
        """Readers that consume and have these attributes. Every checker asks again, so the answer is kept."""
        asked = tuple(attributes.items())
        if asked not in self._consumers:
            self._consumers[asked] = self.history.readers(channel=self.channel, kind="consumer", **attributes)
        return self._consumers[asked]

    def drained(self, **attributes: object) -> bool:
        """Whether no more was to come after the last send: proven empty, or withheld."""
        return any(map(self._after_last_send, self._marks("drained", attributes))) or bool(self.withheld(**attributes))

    def withheld(self, **attributes: object) -> str:
        """Words for a broker that says, after the last send, that messages are left, and gives none; else empty.

        The group held no delivery, asked all the time, and had to wait for longer than a lease.
        """
        for wait in self._marks("timeout", attributes):
            asked_in_vain = wait.get("left") and not wait["unsettled"] and wait["quiet_s"] > wait["lease_s"]
            if asked_in_vain and self._after_last_send(wait):
                return f"the broker says that {wait['left']} are left, and gave none for {wait['quiet_s']:.0f} s"
        return ""

    def _marks(self, event: str, attributes: Mapping[str, object]) -> Iterator[Mapping[str, Any]]:
        if self.group:
            attributes = {"group": self.group, **attributes}
        return self.history.events(event, channel=self.channel, **attributes)

    def _after_last_send(self, mark: Mapping[str, Any]) -> bool:
        return int(mark["at_ns"]) > self.last_sent_ns

    def describe(self, delivered: Delivered, at: int) -> dict[str, object]:
        """One delivery, and the message that it is of, where that is known."""
        message = int(delivered.message[at])
        return {**(self.sent.describe(message) if message >= 0 else {}), **delivered.describe(at)}

    def events_ns(self, reader: int) -> Ids:
        """Times at which calls of this reader ended (it received, or a settlement was answered), ascending."""
        if self.whole is not None:
            return self.whole.events_ns.get(reader, np.empty(0, np.int64))
        deliveries, acknowledgements = self.history.deliveries, self.history.acknowledgements
        received = deliveries["received_ns"][deliveries["reader"] == reader]
        return np.unique(
            np.concatenate([received, acknowledgements["settled_ns"][acknowledgements["reader"] == reader]])
        )

    def reach(self, reader: int) -> Mapping[int, Reach]:
        """How far this reader of the channel had come, by partition."""
        if self.whole is not None:
            return self.whole.reach.get(reader, {})
        read = self.delivered.to([reader])
        return reach_of({name: read.column(name) for name in ("partition", "place", "received_ns")})

    @cached_property
    def identities(self) -> Identities:
        if self.whole is not None:
            return self.whole.identities
        return identities_of(list(self.history.events("identities")))

    @cached_property
    def order_group(self) -> Column:
        """By message the number of its producer and key."""
        return order_groups.numbered(self.sent.producer, self.sent.key)

    @cached_property
    def by_key(self) -> OrderGroups:
        """All messages, in groups of one producer and key."""
        return order_groups.of(self.order_group)


def of_channel(history: History, channel: str, whole: Whole | None = None) -> ChannelIndex:
    """The index of one channel. Raises ValueError for sends that are not numbered without gaps.

    ``whole`` is given for a shard, where numbers have gaps.
    """
    producers = history.producers(channel=channel)
    numbers = message_ids.of(history.sends, producers, gaps=whole is not None)
    outcome_ids = numbers.ids(history.send_outcomes["producer"], history.send_outcomes["seq"])
    sent = _sent(history, numbers, outcome_ids)
    source = history.deliveries
    rows, message, damaged = _deliveries(history, channel, numbers)
    if len(damaged):
        message[damaged] = _by_place(sent, source, rows, message, damaged)
    if whole is None:
        last_sent_ns = int(history.sends["sent_ns"][numbers.rows].max(initial=0))
    else:
        last_sent_ns = max((whole.last_sent_ns.get(producer, 0) for producer in producers), default=0)
    delivered = Delivered(source, rows, message, len(sent), Settlements(history))
    return ChannelIndex(history, channel, numbers, outcome_ids, sent, delivered, last_sent_ns, whole)


def elsewhere(index: ChannelIndex, channel: str) -> Delivered:
    """Deliveries from another channel, one of dead letters, as messages of this channel.

    Places are the other channel's own: a delivery whose stamp is damaged is of no message.
    """
    rows, message, _ = _deliveries(index.history, channel, index.numbers)
    return Delivered(index.history.deliveries, rows, message, len(index.sent), index.delivered.settlements)


def channels(history: History, **attributes: object) -> list[str]:
    """Channels that have a producer with these attributes, in order of their first mark."""
    return list(dict.fromkeys(str(mark["channel"]) for mark in history.events("producer", **attributes)))


def _deliveries(history: History, channel: str, numbers: message_ids.Numbers) -> tuple[Ids, Ids, Ids]:
    """Rows of the channel's deliveries in order of delivery, the message of each or -1, and those of damaged stamps."""
    source = history.deliveries
    rows = np.flatnonzero(message_ids.among(source["reader"], history.readers(channel=channel)))
    rows = _in_order_of_delivery(source, rows)
    message = numbers.ids(source["producer"][rows], source["seq"][rows])
    damaged = np.flatnonzero(source["status"][rows] != INTACT)
    message[damaged] = -1
    return rows, message, damaged


def _in_order_of_delivery(source: Columns, rows: Ids) -> Ids:
    """Rows sorted by (received_ns, reader, batch, slot)."""
    received = source["received_ns"][rows]
    order = message_ids.stable_order(received)
    rows, received = rows[order], received[order]
    # Rows received at one time stand as they were written: mostly in this order already.
    at_once = np.flatnonzero(received[1:] == received[:-1])
    one, other = rows[at_once], rows[at_once + 1]
    equal, wrong = np.ones(len(one), bool), np.zeros(len(one), bool)
    for column in (source["reader"], source["batch"], source["slot"]):
        wrong |= equal & (column[one] > column[other])
        equal &= column[one] == column[other]
    if wrong.any():
        at = message_ids.rows_with(received, received[at_once[wrong]])
        mixed = rows[at]
        rows[at] = mixed[np.lexsort([*(source[name][mixed] for name in ("slot", "batch", "reader")), received[at]])]
    return rows


def _sent(history: History, numbers: message_ids.Numbers, outcome_ids: Ids) -> Sent:
    sends, settled = history.sends, history.send_outcomes
    ours = outcome_ids >= 0
    rows = slice(None) if ours.all() else np.flatnonzero(ours)
    chosen = strongest(outcome_ids[rows], settled["outcome"][rows])
    if not isinstance(chosen, slice):
        rows = np.flatnonzero(ours)[chosen]
    outcome_ids = outcome_ids[rows]

    def joined(name: str, missing: int) -> Column:
        column = np.full(len(numbers.rows), missing, settled[name].dtype)
        column[outcome_ids] = settled[name][rows]
        return column

    own = {name: sends[name][numbers.rows] for name in ("producer", "seq", "key", "size", "checksum")}
    return Sent(
        **own,
        outcome=joined("outcome", int(Outcome.UNKNOWN)),
        partition=joined("partition", -1),
        place=joined("place", NO_PLACE),
    )


def _by_place(sent: Sent, source: Columns, rows: Ids, message: Ids, damaged: Ids) -> Ids:
    """The messages that were sent to the places of the damaged deliveries, or delivered intact from there."""
    place = source["place"][rows]
    known: dict[tuple[int, int], int] = {}
    wanted = place[damaged]
    others = message_ids.rows_with(place, wanted)
    others = others[message[others] >= 0]
    columns = (source["partition"][rows[others]], place[others], message[others])
    for partition, at, number in zip(*(column.tolist() for column in columns), strict=True):
        known[partition, at] = number
    for number in message_ids.rows_with(sent.place, wanted).tolist()[::-1]:
        # A repeat that the broker swallowed was acknowledged with the place of the first: the first lies there.
        known[int(sent.partition[number]), int(sent.place[number])] = number
    spots = zip(source["partition"][rows[damaged]].tolist(), wanted.tolist(), strict=True)
    return np.array([-1 if spot[1] == NO_PLACE else known.get(spot, -1) for spot in spots], np.int64)


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


def asked_ns(index: ChannelIndex, delivered: Delivered, which: Ids) -> Ids:
    """When the call of each of these deliveries began, as the harness took it; in histories of before, its reader's
    last event."""
    began: Ids = delivered.column("asked_ns")[which]
    untold = np.flatnonzero(began == NO_TIME)
    if len(untold):
        began[untold] = last_event_ns(index, delivered, which[untold])
    return began


def call_began_ns(index: ChannelIndex, delivered: Delivered, which: Ids) -> Ids:
    """The earliest moment at which the receive call of each of these deliveries can have begun.

    In histories of before it was also after the mark that names the reader.
    """
    began = asked_ns(index, delivered, which)
    reader = delivered.column("reader")[which]
    untold = delivered.column("asked_ns")[which] == NO_TIME
    for number in np.unique(reader[untold]).tolist():
        opened = max(int(mark.get("at_ns", 0)) for mark in index.history.events("reader", reader=number))
        ours = untold & (reader == number)
        began[ours] = np.maximum(began[ours], opened)
    return began


def sent_ns(index: ChannelIndex) -> Column:
    """By message: when it was handed to ``send``."""
    sent: Column = index.history.sends["sent_ns"][index.numbers.rows]
    return sent


def settled_ns(index: ChannelIndex) -> Ids:
    """By message: when its outcome was first learned; NEVER where it was not."""
    history, ids = index.history, index.outcome_ids
    settled = np.full(len(index.sent), NEVER, np.int64)
    known = np.flatnonzero(ids >= 0)[::-1]
    settled[ids[known]] = history.send_outcomes["settled_ns"][known]  # of repeated ids the last assignment stays
    return settled
