"""Was every acknowledged message delivered?

A loss is claimed only where a delivery would have been observed: after a proven drain, or, for readers that go through
each partition in order, up to the highest place that they read. Sends of unknown fate are neither lost nor required.
A delivery too damaged to tell its message could be any of the missing ones: for each such delivery one missing message
is not claimed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from brokerbench.brokers.types import NO_PLACE, Outcome
from brokerbench.scenarios.checkers.findings import first_of
from brokerbench.scenarios.checkers.index.channel_index import MAX_OFFENDERS, ChannelIndex, Delivered, Mask
from brokerbench.scenarios.verdicts import Count, Counts, Finding


@dataclass(frozen=True, slots=True)
class Search:
    """How many messages were looked for in one part of a history, and were missing. Parts add up."""

    observable: int
    missing: int
    unknown: int
    unattributed: int
    offenders: tuple[Mapping[str, object], ...]


def lost(index: ChannelIndex, delivered: Delivered, *, drained: bool, in_order: bool = False) -> Finding:
    """``delivery.no_loss`` of all readers of ``delivered`` together.

    Observations are acknowledged sends that were looked for. ``drained``: nothing was left for these readers.
    ``in_order``: each partition went to one of these readers in order of place, so that a message below a place that
    was read is missing if it was not delivered. (Not so where consumers share a partition: it may still be in hand.)
    """
    return claimed([search(index, delivered, drained=drained, in_order=in_order)], drained=drained)


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
        int((sent.outcome == Outcome.UNKNOWN).sum()) + int((required & ~observable).sum()),
        int((delivered.message < 0).sum()),
        tuple(sent.describe_with_place(message) for message in missing[:MAX_OFFENDERS].tolist()),
    )


def claimed(parts: Sequence[Search], *, drained: bool) -> Finding:
    """The finding of one channel. An unidentified delivery could be any missing message of any part."""
    missing = sum(part.missing for part in parts)
    doubtful = min(missing, sum(part.unattributed for part in parts))
    extent = "after a proven drain" if drained else "not drained: looked for only as far as was read"
    unclaimed = (Counts(((Count.UNCLAIMED_MESSAGES, doubtful),)),) if doubtful else ()
    return Finding(
        "delivery.no_loss",
        observations=sum(part.observable for part in parts) - doubtful,
        violations=missing - doubtful,
        unknown=sum(part.unknown for part in parts) + doubtful,
        offenders=first_of(offender for part in parts for offender in part.offenders) if missing > doubtful else (),
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
