"""Does the order of sending hold?

The checks compare neighbours in the order of sending: messages of one order group (one producer and key, or one
producer's whole channel) whose sends were acknowledged. The client may have repeated sends of unknown fate: they are
left out.

Across several consumers "order" means the order of *processing*. The statement is broken for a pair (earlier, later)
when

* the later one was received before the earlier one (``overtaken``), or
* the later one was received by another consumer before the first had asked to settle the earlier one
  (``overlapping``): both were in process at once.

Soundness: a batch is stamped after the call returned, so it may have been handed over earlier than stamped. If the
later message's stamp comes first, the earlier message was settled after its own, later, stamp: whatever the true
moments of handing over were, the two overlapped or were inverted. Only the split between the two sorts may blur. The
end of processing is taken from when settling was *asked*: a broker may hand out the next message before its answer
arrives.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from brokerbench.brokers.types import Outcome
from brokerbench.scenarios.checkers.index import channel_index, order_groups
from brokerbench.scenarios.checkers.index.channel_index import NEVER, ChannelIndex, Delivered, Ids, Mask, offenders
from brokerbench.scenarios.checkers.index.first_deliveries import DELIVERY, MESSAGE, FirstDeliveries
from brokerbench.scenarios.checkers.index.order_groups import OrderGroups
from brokerbench.scenarios.history import Action
from brokerbench.scenarios.verdicts import Count, Counts, Finding

_ENDS = (Action.ACKNOWLEDGE, Action.RELEASE, Action.REJECT)


def per_key(name: str, index: ChannelIndex, delivered: Delivered, producers: list[int]) -> Finding:
    """Order per producer and key, by first delivery, over any number of consumers."""
    chosen, these = firsts(index, delivered, producers)
    found = along(name, these, index.by_key.renumbered(chosen), several=several_readers(index))
    return replace(found, unknown=index.sent.unknown(producers))


def whole_channel(name: str, index: ChannelIndex, delivered: Delivered, producers: list[int]) -> Finding:
    """Order of each producer's messages whatever their key, by first delivery."""
    return _in_order(name, index, delivered, producers, None)


def per_partition(name: str, index: ChannelIndex, delivered: Delivered, producers: list[int]) -> Finding:
    """Order of each producer's messages of one partition, whatever their key, by first delivery.

    Partitions are those from which the messages were first delivered: not every producer is told.
    """
    return _in_order(name, index, delivered, producers, "partition")


def firsts(index: ChannelIndex, delivered: Delivered, producers: list[int]) -> tuple[Mask, FirstDeliveries]:
    """A mask of the messages whose order is judged, those acknowledged and delivered; and their first deliveries."""
    delivered = delivered.known()
    first = delivered.first
    sent = index.sent
    chosen: Mask = sent.by(producers) & (first >= 0) & (sent.outcome == Outcome.ACKNOWLEDGED)
    at = first[chosen]
    of_these = delivered.only(at)
    return chosen, FirstDeliveries(
        {
            **{name: getattr(sent, name)[chosen] for name in MESSAGE},
            **{name: of_these.column(name) for name in DELIVERY},
            "ended_ns": _processing_ended(index, delivered)[at],
        }
    )


def along(name: str, these: FirstDeliveries, groups: OrderGroups, *, several: bool) -> Finding:
    """Order within groups of messages that stand in order of (producer, seq). ``several``: more than one reader."""
    alike = groups.follows
    earlier, later = groups.message[:-1][alike], groups.message[1:][alike]
    overtaken = these.sooner(later, earlier)
    overlapping = ~overtaken & (these["reader"][later] != these["reader"][earlier])
    apart = np.flatnonzero(overlapping)
    overlapping[apart] = these["received_ns"][later[apart]] < these["ended_ns"][earlier[apart]]
    wrong = np.flatnonzero(overtaken | overlapping)
    counts = [(Count.OVERTAKEN, int(overtaken.sum()))]
    if several:
        counts.append((Count.OVERLAPPING, int(overlapping.sum())))
    return Finding(
        name,
        observations=len(earlier),
        violations=len(wrong),
        offenders=tuple(
            {
                "kind": "overtaken" if overtaken[pair] else "overlapping",
                **these.describe(int(earlier[pair])),
                "overtaken_by": these.describe(int(later[pair])),
            }
            for pair in wrong[these.first_delivered(earlier[wrong], channel_index.MAX_OFFENDERS)].tolist()
        ),
        remarks=(Counts(tuple(counts)),),
    )


def last(these: FirstDeliveries, groups: OrderGroups) -> FirstDeliveries:
    """The last message of each group: messages of later stretches follow these."""
    return these.only(np.sort(groups.message[np.append(~groups.follows, True)[: len(these)]]))


def groups_within(these: FirstDeliveries, within: str | None) -> OrderGroups:
    """``within``: the column that divides a producer's messages into groups; None: they are one group."""
    return order_groups.of(order_groups.numbered(these["producer"], None if within is None else these[within]))


def several_readers(index: ChannelIndex) -> bool:
    """Of the channel; of one group, where the index is of one among several."""
    of_group = {"group": index.group} if index.group else {}
    return len(index.history.readers(channel=index.channel, **of_group)) > 1


def _in_order(
    name: str, index: ChannelIndex, delivered: Delivered, producers: list[int], within: str | None
) -> Finding:
    _, these = firsts(index, delivered, producers)
    found = along(name, these, groups_within(these, within), several=several_readers(index))
    return replace(found, unknown=index.sent.unknown(producers))


def after_release(name: str, index: ChannelIndex, delivered: Delivered, producers: list[int]) -> Finding:
    """Order per key by the delivery that was acknowledged, for messages that were released before.

    An observation is a message that was released at least once and acknowledged later; a violation, that any later
    message of its producer and key was received, and then acknowledged, before it came back. Where an acknowledgement
    was not answered with yes, the consumer has processed the message in its place, yet it is delivered again:
    that is left out as unknown (``order_while_waiting`` looks at the deliveries in between).
    """
    delivered = delivered.known()
    total = len(index.sent)
    settled = delivered.settled(Action.ACKNOWLEDGE)
    acknowledged = settled.settled_ns != NEVER
    unanswered = np.zeros(total, bool)
    unanswered[delivered.message[(settled.asked_ns != NEVER) & ~acknowledged]] = True
    released = delivered.settled(Action.RELEASE).settled_ns != NEVER
    processed = np.full(total, -1, np.int64)
    done = np.flatnonzero(acknowledged)[::-1]
    processed[delivered.message[done]] = done  # backwards: the first acknowledged delivery stays
    was_released = np.zeros(total, bool)
    was_released[delivered.message[released]] = True
    ours = index.sent.by(producers) & (index.sent.outcome == Outcome.ACKNOWLEDGED)
    groups = index.by_key.only(ours & (processed >= 0))
    rank = processed[groups.message]
    # Group numbers ascend, so a running minimum from the end starts anew with each group.
    apart = groups.number.astype(np.int64) * len(delivered)
    best = np.minimum.accumulate((rank + apart)[::-1])[::-1] - apart
    overtaken = np.zeros(len(rank), bool)
    if len(rank):
        overtaken[:-1] = groups.follows & (best[1:] < rank[:-1])
    observed = (was_released & ~unanswered)[groups.message]
    bad = np.flatnonzero(overtaken & observed)
    bad = bad[np.argsort(rank[bad])]
    return Finding(
        name,
        observations=int(observed.sum()),
        violations=len(bad),
        unknown=int((ours & was_released & ((processed < 0) | unanswered)).sum()),
        offenders=offenders(
            bad,
            lambda at: {
                "kind": "overtaken after release",
                **index.describe(delivered, int(rank[at])),
                "overtaken_by": index.describe(delivered, int(best[at + 1])),
            },
        ),
        remarks=("an observation is a message that was released at least once",),
    )


def _processing_ended(index: ChannelIndex, delivered: Delivered) -> Ids:
    """When the consumer of each delivery first asked to settle it, or the message was delivered again.

    A consumer that died settles nothing: its processing ends when the message is delivered again, after its lease.
    """
    ended = np.full(len(delivered), NEVER, np.int64)
    for action in _ENDS:
        np.minimum(ended, delivered.settled(action).asked_ns, out=ended)
    again = delivered.pairs
    ended[again.earlier] = np.minimum(ended[again.earlier], delivered.column("received_ns")[again.later])
    return ended
