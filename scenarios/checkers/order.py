"""Does the order of sending hold?

Compared are neighbours in the order of sending: messages of one producer and key (or of the whole channel) whose
sends were acknowledged. Sends of unknown fate may have been repeated by the client and are left out.

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
from brokerbench.scenarios.checkers.index import order_groups
from brokerbench.scenarios.checkers.index.channel_index import MAX_OFFENDERS, NEVER, ChannelIndex, Delivered, Ids, Mask
from brokerbench.scenarios.checkers.index.first_deliveries import DELIVERY, MESSAGE, FirstDeliveries
from brokerbench.scenarios.checkers.index.order_groups import OrderGroups
from brokerbench.scenarios.history import Action
from brokerbench.scenarios.verdicts import Count, Counts, Finding

_ENDS = (Action.ACKNOWLEDGE, Action.RELEASE, Action.REJECT)


def per_key(name: str, record: ChannelIndex, delivered: Delivered, producers: list[int]) -> Finding:
    """Order per producer and key, by first delivery, over any number of consumers."""
    chosen, these = firsts(record, delivered, producers)
    found = along(name, these, record.by_key.renumbered(chosen), several=several_readers(record))
    return replace(found, unknown=unknown_sends(record, producers))


def whole_channel(name: str, record: ChannelIndex, delivered: Delivered, producers: list[int]) -> Finding:
    """Order of each producer's messages whatever their key, by first delivery."""
    return _in_order(name, record, delivered, producers, None)


def per_partition(name: str, record: ChannelIndex, delivered: Delivered, producers: list[int]) -> Finding:
    """Order of each producer's messages of one partition, whatever their key, by first delivery.

    Partitions are those from which the messages were first delivered: not every sender is told.
    """
    return _in_order(name, record, delivered, producers, "partition")


def firsts(record: ChannelIndex, delivered: Delivered, producers: list[int]) -> tuple[Mask, FirstDeliveries]:
    """Which messages of these producers the order is judged by, those acknowledged and delivered; and how they came."""
    delivered = delivered.known()
    first = delivered.first(len(record.sent))
    sent = record.sent
    chosen: Mask = sent.by(producers) & (first >= 0) & (sent.outcome == Outcome.ACKNOWLEDGED)
    at = first[chosen]
    of_these = delivered.only(at)
    return chosen, FirstDeliveries(
        {
            **{name: getattr(sent, name)[chosen] for name in MESSAGE},
            **{name: of_these.column(name) for name in DELIVERY},
            "ended_ns": _processing_ended(record, delivered)[at],
        }
    )


def unknown_sends(record: ChannelIndex, producers: list[int]) -> int:
    return int((record.sent.by(producers) & (record.sent.outcome == Outcome.UNKNOWN)).sum())


def along(name: str, these: FirstDeliveries, by_line: OrderGroups, *, several: bool) -> Finding:
    """Order within the lines of messages that stand in order of (producer, seq). ``several``: more than one reader."""
    alike = by_line.follows
    earlier, later = by_line.message[:-1][alike], by_line.message[1:][alike]
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
            for pair in wrong[these.first_delivered(earlier[wrong], MAX_OFFENDERS)].tolist()
        ),
        remarks=(Counts(tuple(counts)),),
    )


def last(these: FirstDeliveries, by_line: OrderGroups) -> FirstDeliveries:
    """The last of each line: what follows is after those."""
    return these.only(np.sort(by_line.message[np.append(~by_line.follows, True)[: len(these)]]))


def lines_within(these: FirstDeliveries, within: str | None) -> OrderGroups:
    """``within``: the column that divides a producer's messages into lines; None: nothing does."""
    return order_groups.of(order_groups.numbered(these["producer"], None if within is None else these[within]))


def several_readers(record: ChannelIndex) -> bool:
    return len(record.history.readers(channel=record.channel)) > 1


def _in_order(
    name: str, record: ChannelIndex, delivered: Delivered, producers: list[int], within: str | None
) -> Finding:
    _, these = firsts(record, delivered, producers)
    found = along(name, these, lines_within(these, within), several=several_readers(record))
    return replace(found, unknown=unknown_sends(record, producers))


def after_release(name: str, record: ChannelIndex, delivered: Delivered, producers: list[int]) -> Finding:
    """Order per key by the delivery that was acknowledged, for messages that were released before.

    An observation is a message that was released at least once and acknowledged later; a violation, that any later
    message of its producer and key was received, and then acknowledged, before it came back. Where an acknowledgement
    was not answered with yes, the consumer has processed the message in its place, and it comes again all the same:
    that is left out as unknown (``waiting`` looks at what was delivered meanwhile).
    """
    delivered = delivered.known()
    total = len(record.sent)
    settled = record.settled(delivered, Action.ACKNOWLEDGE)
    acknowledged = settled.settled_ns != NEVER
    unanswered = np.zeros(total, bool)
    unanswered[delivered.message[(settled.asked_ns != NEVER) & ~acknowledged]] = True
    released = record.settled(delivered, Action.RELEASE).settled_ns != NEVER
    processed = np.full(total, -1, np.int64)
    done = np.flatnonzero(acknowledged)[::-1]
    processed[delivered.message[done]] = done  # backwards: the first acknowledged delivery stays
    was_released = np.zeros(total, bool)
    was_released[delivered.message[released]] = True
    ours = record.sent.by(producers) & (record.sent.outcome == Outcome.ACKNOWLEDGED)
    by_line = record.by_key.only(ours & (processed >= 0))
    rank = processed[by_line.message]
    # Lines ascend, so a running minimum from the end starts anew with each line.
    apart = by_line.line.astype(np.int64) * len(delivered)
    best = np.minimum.accumulate((rank + apart)[::-1])[::-1] - apart
    overtaken = np.zeros(len(rank), bool)
    if len(rank):
        overtaken[:-1] = by_line.follows & (best[1:] < rank[:-1])
    observed = (was_released & ~unanswered)[by_line.message]
    bad = np.flatnonzero(overtaken & observed)
    bad = bad[np.argsort(rank[bad])]
    return Finding(
        name,
        observations=int(observed.sum()),
        violations=len(bad),
        unknown=int((ours & was_released & ((processed < 0) | unanswered)).sum()),
        offenders=tuple(
            _offender(
                record,
                delivered,
                (int(by_line.message[at]), int(rank[at])),
                (int(delivered.message[best[at + 1]]), int(best[at + 1])),
            )
            for at in bad[:MAX_OFFENDERS].tolist()
        ),
        remarks=("an observation is a message that was released at least once",),
    )


def _processing_ended(record: ChannelIndex, delivered: Delivered) -> Ids:
    """When the consumer of each delivery first asked to settle it, or the broker gave the message to another.

    A consumer that died settles nothing: its part ends when what it had comes again, at the end of its lease.
    """
    ended = np.full(len(delivered), NEVER, np.int64)
    for action in _ENDS:
        np.minimum(ended, record.settled(delivered, action).asked_ns, out=ended)
    again = delivered.pairs
    ended[again.earlier] = np.minimum(ended[again.earlier], delivered.column("received_ns")[again.later])
    return ended


def _offender(
    record: ChannelIndex,
    delivered: Delivered,
    earlier: tuple[int, int],
    later: tuple[int, int],
) -> dict[str, object]:
    """Each of the pair is (message, index of its delivery); the offender is the earlier one, which came too late."""
    return {
        "kind": "overtaken after release",
        **record.sent.describe(earlier[0]),
        **delivered.describe(earlier[1]),
        "overtaken_by": {
            **record.sent.describe(later[0]),
            **delivered.describe(later[1]),
        },
    }
