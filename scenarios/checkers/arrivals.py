"""Did each message arrive that had to arrive: once, unaltered, and no other message beside?

``lost``: every acknowledged message was delivered. A loss is claimed only where a delivery would have been observed:
after a proven drain; where the broker says that messages are left and gives none for longer than a lease; or, for
readers that go through each partition in order, up to the highest place that they read. All others are open. Sends of
unknown fate are neither lost nor required. A delivery too damaged to tell its message could be any of the missing ones:
for each such delivery one missing message is open instead of claimed, and no message is named, as it may be that one.

``delivered_again``: no message was delivered again while a consumer of the group held it, nor after it was
acknowledged. A delivery counts against the broker when it was *asked for* after the acknowledgement had been answered
with yes, in the same group, or when it is one of the two for certain (``leases.held``): it may have gone into a call
that waited already. Other deliveries that were received after an acknowledgement, but may have been on their way
already, are left out as unknown. Redeliveries of messages that no consumer held any more (released, rewound, lease
ended) are legal, and counted apart.

``altered``: payloads arrived byte for byte as sent. A delivery is altered when its stamp does not verify, or when it
verifies but differs from the send of that message (size, checksum). A delivery with a destroyed stamp counts here where
its place tells its message; elsewhere it counts as a phantom.

``phantoms``: nothing was delivered that should not exist. Two sorts are counted apart: a delivery of a message that
this run never sent to this channel, and a delivery of a send that the broker had rejected. Sends of unknown fate may
be delivered. ``delivered_all_the_same`` states the second sort alone.

``unknown``: sends of unknown fate. Its finding names them; no other checker counts them as lost or as taken.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from brokerbench.brokers.types import NO_PLACE, Outcome
from brokerbench.scenarios.checkers import leases
from brokerbench.scenarios.checkers.findings import first_of
from brokerbench.scenarios.checkers.index import channel_index
from brokerbench.scenarios.checkers.index.channel_index import NEVER, ChannelIndex, Delivered, Mask, offenders
from brokerbench.scenarios.history.stamp import CORRUPT, INTACT
from brokerbench.scenarios.verdicts import Count, Counts, Finding


@dataclass(frozen=True, slots=True)
class Search:
    """How many messages were looked for in one part of a history, and were missing. Parts add up."""

    observable: int
    missing: int
    unknown: int
    open: int
    unattributed: int
    offenders: tuple[Mapping[str, object], ...]


def lost(index: ChannelIndex, delivered: Delivered, *, drained: bool, in_order: bool = False) -> Finding:
    """``delivery.no_loss`` of all readers of ``delivered`` together.

    Observations are acknowledged sends that were looked for. ``drained``: no more was to come for these readers.
    ``in_order``: each partition went to one of these readers in order of place, so that a message below a place that
    was read is missing if it was not delivered. (Not so where consumers share a partition: it may still be in hand.)
    """
    found = search(index, delivered, drained=drained, in_order=in_order)
    return claimed([found], drained=drained, withheld=index.withheld())


def search(index: ChannelIndex, delivered: Delivered, *, drained: bool, in_order: bool = False) -> Search:
    """Look for every acknowledged send. ``in_order`` needs the whole channel: a shard sees no highest place."""
    sent = index.sent
    required = sent.outcome == Outcome.ACKNOWLEDGED
    seen = delivered.first >= 0
    observable = required if drained else required & (seen | _below(index, delivered, in_order))
    missing = np.flatnonzero(observable & ~seen)
    return Search(
        int(observable.sum()),
        len(missing),
        int((sent.outcome == Outcome.UNKNOWN).sum()),
        int((required & ~observable).sum()),
        int((delivered.message < 0).sum()),
        offenders(missing, sent.describe_with_place),
    )


def claimed(parts: Sequence[Search], *, drained: bool, withheld: str = "") -> Finding:
    """The finding of one channel. An unidentified delivery could be any missing message of any part.

    ``withheld``: the reason why no more was to come although no drain was proven.
    """
    missing = sum(part.missing for part in parts)
    doubtful = min(missing, sum(part.unattributed for part in parts))
    extent = withheld or ("after a proven drain" if drained else "not drained: looked for only as far as was read")
    unclaimed = (Counts(((Count.UNCLAIMED_MESSAGES, doubtful),)),) if doubtful else ()
    return Finding(
        "delivery.no_loss",
        observations=sum(part.observable for part in parts) - doubtful,
        violations=missing - doubtful,
        unknown=sum(part.unknown for part in parts),
        open=sum(part.open for part in parts) + doubtful,
        offenders=() if doubtful else first_of(offender for part in parts for offender in part.offenders),
        remarks=(extent, *unclaimed),
    )


def _below(index: ChannelIndex, delivered: Delivered, in_order: bool) -> Mask:
    """Messages whose place is at most the highest place read from their partition."""
    sent = index.sent
    below = np.zeros(len(sent), bool)
    if not in_order or not len(delivered):
        return below
    partition, place = delivered.column("partition"), delivered.column("place")
    for number in np.unique(partition[place != NO_PLACE]).tolist():
        highest = place[partition == number].max()
        below |= (sent.partition == number) & (sent.place != NO_PLACE) & (sent.place <= highest)
    return below


def delivered_again(index: ChannelIndex, delivered: Delivered) -> Finding:
    """``delivery.no_duplicate`` for ``delivered`` to *one* group.

    Observations are messages that were acknowledged, or came again while they were held.
    """
    delivered = delivered.known()
    done_ns = delivered.done_ns
    limit_ns = done_ns[delivered.message]
    suspects = np.flatnonzero(delivered.column("received_ns") > limit_ns)
    surely = channel_index.asked_ns(index, delivered, suspects) >= limit_ns[suspects]
    bad = np.union1d(suspects[surely], leases.held(index, delivered))
    unknown = len(np.setdiff1d(suspects, bad))
    observed = done_ns != NEVER
    observed[delivered.message[bad]] = True
    seen = np.zeros(len(index.sent), bool)
    seen[delivered.message] = True
    more = len(delivered) - int(seen.sum())

    def describe(at: int) -> Mapping[str, object]:
        done = limit_ns[at]
        held = {"kind": "while it was held"} if done == NEVER else {"acknowledged_ns": int(done)}
        return {**index.describe(delivered, at), **held}

    return Finding(
        "delivery.no_duplicate",
        observations=int(observed.sum()),
        violations=len(bad),
        unknown=unknown,
        offenders=offenders(bad, describe),
        remarks=(Counts(((Count.LEGAL_REDELIVERIES, more - len(bad) - unknown),)),),
    )


def altered(index: ChannelIndex, delivered: Delivered, name: str = "delivery.intact") -> Finding:
    """``delivery.intact``. Observations are deliveries that are known to be of a message of this run."""
    sent, status, message = index.sent, delivered.column("status"), delivered.message
    ours = (message >= 0) | (status == CORRUPT)
    same = np.zeros(len(delivered), bool)
    intact = np.flatnonzero((status == INTACT) & (message >= 0))
    ids = message[intact]
    size = delivered.column("size")
    same[intact] = (size[intact] == sent.size[ids]) & (delivered.column("checksum")[intact] == sent.checksum[ids])
    bad = np.flatnonzero(ours & ~same)
    return Finding(
        name,
        observations=int(ours.sum()),
        violations=len(bad),
        offenders=offenders(bad, lambda at: {**index.describe(delivered, at), "size": int(size[at])}),
    )


def phantoms(index: ChannelIndex, delivered: Delivered) -> Finding:
    """``delivery.no_phantom``; observations are all deliveries."""
    message = delivered.message
    never_sent = (message < 0) & (delivered.column("status") != CORRUPT)
    rejected = np.zeros(len(delivered), bool)
    known = np.flatnonzero(message >= 0)
    rejected[known] = index.sent.outcome[message[known]] == Outcome.REJECTED
    bad = np.flatnonzero(never_sent | rejected)
    return Finding(
        "delivery.no_phantom",
        observations=len(delivered),
        violations=len(bad),
        offenders=offenders(
            bad, lambda at: {"kind": "never sent" if message[at] < 0 else "rejected", **index.describe(delivered, at)}
        ),
        remarks=(Counts(((Count.NEVER_SENT, int(never_sent.sum())), (Count.REJECTED, int(rejected.sum())))),),
    )


def delivered_all_the_same(index: ChannelIndex, delivered: Delivered) -> Finding:
    """``delivery.no_rejected``; observations are deliveries of messages whose send was answered."""
    delivered = delivered.known()
    outcome = index.sent.outcome[delivered.message]
    bad = np.flatnonzero(outcome == Outcome.REJECTED)
    unknown = int((outcome == Outcome.UNKNOWN).sum())
    return Finding(
        "delivery.no_rejected",
        observations=len(delivered) - unknown,
        violations=len(bad),
        unknown=unknown,
        offenders=offenders(bad, lambda at: index.describe(delivered, at)),
    )


def unknown(index: ChannelIndex) -> Finding:
    """``send.settled``; observations are all sends, violations those whose fate is unknown."""
    open_ = np.flatnonzero(index.sent.outcome == Outcome.UNKNOWN)
    return Finding(
        "send.settled",
        observations=len(index.sent),
        violations=len(open_),
        offenders=offenders(open_, index.sent.describe),
    )


def refused(index: ChannelIndex) -> Finding:
    """``send.taken``; observations are all sends, violations those that were rejected."""
    rejected = np.flatnonzero(index.sent.outcome == Outcome.REJECTED)
    return Finding(
        "send.taken",
        observations=len(index.sent),
        violations=len(rejected),
        offenders=offenders(rejected, index.sent.describe),
    )
