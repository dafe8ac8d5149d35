"""Was every acknowledged message delivered?

A loss is claimed only where its absence was observable: after a proven drain, or, for readers that go through each
partition in order, up to the highest place that they read. Sends of unknown fate are neither lost nor required.
Deliveries too damaged to say which message they were could be any of the missing ones: as many missing
messages are not claimed.
"""

from __future__ import annotations

import numpy as np

from brokers.types import NO_PLACE, Outcome
from scenarios.checkers.record import MAX_OFFENDERS, Delivered, Ids, Mask, Record
from scenarios.verdicts import Finding


def lost(record: Record, delivered: Delivered, *, drained: bool, in_order: bool = False) -> Finding:
    """``delivery.no_loss`` for what all of ``delivered``'s readers together should have got.

    Observations are acknowledged sends that were looked for. ``drained``: nothing was left for these readers.
    ``in_order``: each partition went to one of these readers in order of place, so that what lies below a place that
    was read, and did not come, is missing. (Not so where consumers share a partition: a message may still be in hand.)
    """
    sent = record.sent
    required = sent.outcome == Outcome.ACKNOWLEDGED
    seen = np.zeros(len(sent), bool)
    seen[delivered.message[delivered.message >= 0]] = True
    observable = required & (seen | (np.ones(len(sent), bool) if drained else _below(record, delivered, in_order)))
    missing = np.flatnonzero(observable & ~seen)
    unattributed = int((delivered.message < 0).sum())
    doubtful = min(len(missing), unattributed)
    unknown = int((sent.outcome == Outcome.UNKNOWN).sum()) + int((required & ~observable).sum()) + doubtful
    notes = ["after a proven drain" if drained else "not drained: looked for only as far as was read"]
    if doubtful:
        notes.append(f"{doubtful} missing messages are not claimed: as many deliveries could not be identified")
    return Finding(
        "delivery.no_loss",
        observations=int(observable.sum()) - doubtful,
        violations=len(missing) - doubtful,
        unknown=unknown,
        offenders=_offenders(record, missing) if len(missing) > doubtful else (),
        note="; ".join(notes),
    )


def _below(record: Record, delivered: Delivered, in_order: bool) -> Mask:
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


def _offenders(record: Record, missing: Ids) -> tuple[dict[str, object], ...]:
    sent = record.sent
    return tuple(
        {
            **sent.describe(message),
            "partition": int(sent.partition[message]),
            "place": int(sent.place[message]),
        }
        for message in missing[:MAX_OFFENDERS].tolist()
    )
