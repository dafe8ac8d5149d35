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

from dataclasses import dataclass

import numpy as np

from brokers.types import NO_PARTITION, Outcome
from scenarios.checkers import times
from scenarios.checkers.numbering import stable_order
from scenarios.checkers.record import MAX_OFFENDERS, NEVER, Delivered, Ids, Mask, Record
from scenarios.history import Action, Column
from scenarios.verdicts import Finding

_WIDE = 1 << 31
"""Keys further apart are numbered by rank, so that a line times the number of deliveries stays within 64 bits."""
_ENDS = (Action.ACKNOWLEDGE, Action.RELEASE, Action.REJECT)


@dataclass(frozen=True, slots=True)
class _Lines:
    """Messages sorted by (line, seq): a line is what must be in order. ``line`` ascends."""

    message: Ids
    line: Column


def per_key(name: str, record: Record, delivered: Delivered, producers: list[int]) -> Finding:
    """Order per producer and key, by first delivery, over any number of consumers."""
    return _in_order(name, record, delivered, producers, record.sent.key)


def whole_channel(name: str, record: Record, delivered: Delivered, producers: list[int]) -> Finding:
    """Order of each producer's messages whatever their key, by first delivery."""
    return _in_order(name, record, delivered, producers, None)


def per_partition(name: str, record: Record, delivered: Delivered, producers: list[int]) -> Finding:
    """Order of each producer's messages of one partition, whatever their key, by first delivery.

    Partitions are those from which the messages were first delivered: not every sender is told.
    """
    known = delivered.known()
    first = known.first(len(record.sent))
    partition = np.full(len(record.sent), NO_PARTITION, np.int64)
    partition[first >= 0] = known.column("partition")[first[first >= 0]]
    return _in_order(name, record, delivered, producers, partition)


def _in_order(
    name: str,
    record: Record,
    delivered: Delivered,
    producers: list[int],
    within: Column | None,
) -> Finding:
    """``within``: by message, what divides a producer's messages into lines; ``None``: nothing does."""
    delivered = delivered.known()
    first = delivered.first(len(record.sent))
    ours = record.sent.by(producers)
    lines = _lines(
        record,
        ours & (first >= 0) & (record.sent.outcome == Outcome.ACKNOWLEDGED),
        within,
    )
    neighbours = np.flatnonzero(lines.line[1:] == lines.line[:-1])
    earlier, later = lines.message[neighbours], lines.message[neighbours + 1]
    overtaken = first[later] < first[earlier]
    reader, received = delivered.column("reader"), delivered.column("received_ns")
    ended = _processing_ended(record, delivered)
    overlapping = (
        ~overtaken & (reader[first[later]] != reader[first[earlier]]) & (received[first[later]] < ended[first[earlier]])
    )
    bad = np.flatnonzero(overtaken | overlapping)
    bad = bad[np.argsort(first[earlier[bad]])]
    note = f"{int(overtaken.sum())} delivered before an earlier one"
    if len(record.history.readers(channel=record.channel)) > 1:
        note += f", {int(overlapping.sum())} delivered to another consumer while an earlier one was in process"
    return Finding(
        name,
        observations=len(neighbours),
        violations=len(bad),
        unknown=int((ours & (record.sent.outcome == Outcome.UNKNOWN)).sum()),
        offenders=tuple(
            _offender(
                record,
                delivered,
                "overtaken" if overtaken[at] else "overlapping",
                (int(earlier[at]), int(first[earlier[at]])),
                (int(later[at]), int(first[later[at]])),
            )
            for at in bad[:MAX_OFFENDERS].tolist()
        ),
        note=note,
    )


def after_release(name: str, record: Record, delivered: Delivered, producers: list[int]) -> Finding:
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
    lines = _lines(record, ours & (processed >= 0), record.sent.key)
    rank = processed[lines.message]
    # Lines ascend, so a running minimum from the end starts anew with each line.
    apart = lines.line.astype(np.int64) * len(delivered)
    best = np.minimum.accumulate((rank + apart)[::-1])[::-1] - apart
    overtaken = np.zeros(len(rank), bool)
    if len(rank):
        overtaken[:-1] = (lines.line[1:] == lines.line[:-1]) & (best[1:] < rank[:-1])
    observed = (was_released & ~unanswered)[lines.message]
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
                "overtaken after release",
                (int(lines.message[at]), int(rank[at])),
                (int(delivered.message[best[at + 1]]), int(best[at + 1])),
            )
            for at in bad[:MAX_OFFENDERS].tolist()
        ),
        note="an observation is a message that was released at least once",
    )


def lines(record: Record, message: Ids) -> Column:
    """The line of each message: its producer and key, as a number."""
    return _numbered(record, message, record.sent.key)


def _numbered(record: Record, message: Ids, within: Column | None) -> Column:
    line: Column = record.sent.producer[message].astype(np.int64)
    if within is not None and len(message):
        part = within[message]
        low, high = int(part.min()), int(part.max())
        if high - low > _WIDE:
            part = np.unique(part, return_inverse=True)[1]
            low, high = 0, int(part.max())
        line = line * (high - low + 1) + (part - low)
    if len(line) and line.max() <= np.iinfo(np.uint16).max:
        line = line.astype(np.uint16)  # NumPy sorts 16 bits by radix
    return line


def _lines(record: Record, chosen: Mask, within: Column | None) -> _Lines:
    """Ids stand in order of (producer, seq) already: one stable sort by line is all that is needed."""
    message = np.flatnonzero(chosen)
    line = _numbered(record, message, within)
    order = stable_order(line)
    return _Lines(message[order], line[order])


def _processing_ended(record: Record, delivered: Delivered) -> Ids:
    """When the consumer of each delivery first asked to settle it, or the broker gave the message to another.

    A consumer that died settles nothing: its part ends when what it had comes again, at the end of its lease.
    """
    ended: Ids = np.minimum.reduce([record.settled(delivered, action).asked_ns for action in _ENDS])
    again = times.pairs(delivered)
    ended[again.earlier] = np.minimum(ended[again.earlier], delivered.column("received_ns")[again.later])
    return ended


def _offender(
    record: Record,
    delivered: Delivered,
    kind: str,
    earlier: tuple[int, int],
    later: tuple[int, int],
) -> dict[str, object]:
    """Each of the pair is (message, index of its delivery); the offender is the earlier one, which came too late."""
    return {
        "kind": kind,
        **record.sent.describe(earlier[0]),
        **delivered.describe(earlier[1]),
        "overtaken_by": {
            **record.sent.describe(later[0]),
            **delivered.describe(later[1]),
        },
    }
