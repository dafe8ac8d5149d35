"""Do the facts that a broker tells of one message agree with each other, and with the clocks?

``settled_once``: each send is settled once. A second outcome is a violation whether it repeats the first or contradicts
it; other checkers go by the stronger promise of the two (``message_ids.strongest``).

``same_key``: a message is delivered under the key with which it was sent.

``same_place``: the place that its sender was told is the place of every delivery, and of every replay; where the sender
was told none, the place of the first delivery is that of the others.

``broker_time``: the broker's time lies between sending and arrival. Two clocks are compared: this host's, by the marks,
and the broker's, which may be another host's. Hosts that keep time are apart by milliseconds; ``APART_NS`` excuses far
more. A time that a client of this host put on the message is excused ``CLIENT_APART_NS``.

Deliveries with a damaged stamp are left out: ``delivery.intact`` counts them. What a broker or a history does not tell
is no observation, and where nothing is told the finding says so.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from brokerbench.brokers.types import NO_PLACE, NO_TIME, Clock
from brokerbench.scenarios.checkers.index import channel_index, promises
from brokerbench.scenarios.checkers.index.channel_index import ChannelIndex, Delivered, Ids, Mask, offenders
from brokerbench.scenarios.history.broker_keys import NO_KEY, UNTOLD_KEY
from brokerbench.scenarios.history.stamp import INTACT
from brokerbench.scenarios.verdicts import Finding

APART_NS = 10_000_000_000
CLIENT_APART_NS = 1_000_000_000

NOT_TOLD: Mapping[str, str] = {
    "delivery.key": "no key of a delivery was asked for (by loads), or told",
    "delivery.place": "the sender was told no place, and nothing was delivered twice from places",
    "delivery.own_place": "no place of a message was told",
    "delivery.key_partition": "no partition of a message with a key was told",
    "delivery.count": "no number of a delivery was asked for (by loads), or told",
    "delivery.broker_time": "no time of the broker was asked for (by loads), or told",
    "delivery.broker_time_order": "no time of the broker was told together with a place",
    "send.settled_once": "nothing was settled",
}


def or_not_told(finding: Finding) -> Finding:
    """The finding; where it has nothing to say, the reason instead. Only for one of the whole history."""
    why = NOT_TOLD.get(finding.property)
    if why is None or finding.observations or finding.violations or finding.open or finding.not_testable:
        return finding
    return replace(finding, not_testable=why, unknown=0)


def settled_once(index: ChannelIndex) -> Finding:
    """``send.settled_once``. Observations are sends that were settled."""
    ids = index.outcome_ids
    rows = np.flatnonzero(ids >= 0)
    times = np.bincount(ids[rows], minlength=len(index.sent))
    bad = np.flatnonzero(times > 1)

    def describe(message: int) -> Mapping[str, object]:
        outcomes = index.history.send_outcomes["outcome"][np.flatnonzero(ids == message)].tolist()
        kind = "repeated" if len(set(outcomes)) == 1 else "contradicted"
        return {"kind": kind, **index.sent.describe(message), "settled": len(outcomes)}

    return Finding(
        "send.settled_once",
        observations=int((times > 0).sum()),
        violations=len(bad),
        offenders=offenders(bad, describe),
    )


def same_key(index: ChannelIndex, delivered: Delivered) -> Finding:
    """``delivery.key``. Observations are deliveries whose key was told."""
    key = delivered.column("broker_key")
    told = np.flatnonzero(_intact(delivered) & (key != UNTOLD_KEY))
    sent = np.maximum(index.sent.key[delivered.message[told]], NO_KEY)
    bad = told[key[told] != sent]
    return Finding(
        "delivery.key",
        observations=len(told),
        violations=len(bad),
        offenders=offenders(bad, lambda at: {**index.describe(delivered, at), "broker_key": int(key[at])}),
    )


def same_place(index: ChannelIndex, delivered: Delivered) -> Finding:
    """``delivery.place``, of all readers of the channel. Observations are deliveries with another place to agree with.

    Another place is that which the sender was told, else that of the first delivery.
    """
    place, partition = delivered.column("place"), delivered.column("partition")
    rows = np.flatnonzero(_intact(delivered) & (place != NO_PLACE))
    message = delivered.message[rows]
    wanted_partition, wanted_place = index.sent.partition.copy(), index.sent.place.copy()
    compared = np.ones(len(rows), bool)
    untold = np.flatnonzero(wanted_place[message] == NO_PLACE)
    if len(untold):
        first = first_of_each(message[untold], len(index.sent))
        without = np.flatnonzero(first >= 0)
        origin = untold[first[without]]
        wanted_partition[without], wanted_place[without] = partition[rows[origin]], place[rows[origin]]
        compared[origin] = False
    differs = (wanted_partition[message] != partition[rows]) | (wanted_place[message] != place[rows])
    bad = rows[compared & differs]

    def describe(at: int) -> Mapping[str, object]:
        of = int(delivered.message[at])
        told = {"told_partition": int(wanted_partition[of]), "told_place": int(wanted_place[of])}
        return {**index.describe(delivered, at), **told}

    return Finding(
        "delivery.place",
        observations=int(compared.sum()),
        violations=len(bad),
        offenders=offenders(bad, describe),
    )


def broker_time(index: ChannelIndex, delivered: Delivered) -> Finding:
    """``delivery.broker_time``. Observations are deliveries whose broker told a time."""
    name = "delivery.broker_time"
    told = promises.of(index.history, index.channel)
    offsets_ns = promises.epoch_offsets_ns(index.history)
    if told.clock is None or offsets_ns is None:
        return Finding(name)
    time_ns = delivered.column("broker_epoch_ns")
    rows = np.flatnonzero(_intact(delivered) & (time_ns != NO_TIME))
    apart_ns = told.resolution_ns + (CLIENT_APART_NS if told.clock is Clock.CLIENT_CREATE else APART_NS)
    sent_ns = channel_index.sent_ns(index)[delivered.message[rows]] + offsets_ns[0]
    received_ns = delivered.column("received_ns")[rows] + offsets_ns[1]
    early = sent_ns - time_ns[rows] > apart_ns
    late = time_ns[rows] - received_ns > apart_ns
    bad = rows[early | late]
    return Finding(
        name,
        observations=len(rows),
        violations=len(bad),
        offenders=offenders(bad, lambda at: {**index.describe(delivered, at), "broker_epoch_ns": int(time_ns[at])}),
        remarks=(f"give or take {apart_ns / 1e9:g} s",),
    )


def first_of_each(message: Ids, count: int) -> Ids:
    """By message the index of its first entry, or -1."""
    first = np.full(count, -1, np.int64)
    first[message[::-1]] = np.arange(len(message))[::-1]  # of repeated indices the last assignment stays
    return first


def _intact(delivered: Delivered) -> Mask:
    """Deliveries whose stamp verifies and is of a message of this channel."""
    intact: Mask = (delivered.message >= 0) & (delivered.column("status") == INTACT)
    return intact
