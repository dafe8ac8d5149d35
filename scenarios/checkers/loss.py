"""Was every acknowledged message delivered?

A loss is claimed only where its absence was observable: after a proven drain, or, for readers that go through each
partition in order, up to the highest place that they read. Sends of unknown fate are neither lost nor required.
Deliveries too damaged to say which message they were could be any of the missing ones: as many missing
messages are not claimed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from brokerbench.brokers.types import NO_PLACE, Outcome
from brokerbench.scenarios.checkers.findings import first_of
from brokerbench.scenarios.checkers.index.channel_index import MAX_OFFENDERS, ChannelIndex, Delivered, Ids, Mask
from brokerbench.scenarios.verdicts import Count, Counts, Finding


@dataclass(frozen=True, slots=True)
class Search:
    """What was looked for in one part of a history, and what of it was missing. Parts add up."""

    observable: int
    missing: int
    unknown: int
    unattributed: int
    offenders: tuple[Mapping[str, object], ...]


def lost(record: ChannelIndex, delivered: Delivered, *, drained: bool, in_order: bool = False) -> Finding:
    """``delivery.no_loss`` for what all of ``delivered``'s readers together should have got.

    Observations are acknowledged sends that were looked for. ``drained``: nothing was left for these readers.
    ``in_order``: each partition went to one of these readers in order of place, so that what lies below a place that
    was read, and did not come, is missing. (Not so where consumers share a partition: a message may still be in hand.)
    """
    return claimed([search(record, delivered, drained=drained, in_order=in_order)], drained=drained)


def search(record: ChannelIndex, delivered: Delivered, *, drained: bool, in_order: bool = False) -> Search:
    """Look for every acknowledged send. ``in_order`` needs the whole channel: a shard sees no highest place."""
    sent = record.sent
    required = sent.outcome == Outcome.ACKNOWLEDGED
    seen = delivered.first(len(sent)) >= 0
    observable = required if drained else required & (seen | _below(record, delivered, in_order))
    missing = np.flatnonzero(observable & ~seen)
    return Search(
        int(observable.sum()),
        len(missing),
        int((sent.outcome == Outcome.UNKNOWN).sum()) + int((required & ~observable).sum()),
        int((delivered.message < 0).sum()),
        _offenders(record, missing),
    )


def claimed(parts: Sequence[Search], *, drained: bool) -> Finding:
    """The finding of one channel. Any unidentified delivery could be any missing message, in whatever part."""
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


def _below(record: ChannelIndex, delivered: Delivered, in_order: bool) -> Mask:
    """Messages whose place is at most the highest place read from their partition."""
    sent = record.sent
    below = np.zeros(len(sent), bool)
    if not in_order or not len(delivered):
        return below
    partition, place = delivered.column("partition"), delivered.column("place")
    for number in np.unique(partition[place != NO_PLACE]).tolist():
        highest = place[partition == number].max()
        below |= (sent.partition == number) & (sent.place != NO_PLACE) & (sent.place <= highest)
    return below


def _offenders(record: ChannelIndex, missing: Ids) -> tuple[dict[str, object], ...]:
    sent = record.sent
    return tuple(
        {
            **sent.describe(message),
            "partition": int(sent.partition[message]),
            "place": int(sent.place[message]),
        }
        for message in missing[:MAX_OFFENDERS].tolist()
    )
