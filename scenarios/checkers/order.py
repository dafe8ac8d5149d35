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

from dataclasses import dataclass, replace

import numpy as np

from brokers.types import Outcome
from scenarios.checkers.firsts import Firsts
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
    return _in_order(name, record, delivered, producers, "key")


def whole_channel(name: str, record: Record, delivered: Delivered, producers: list[int]) -> Finding:
    """Order of each producer's messages whatever their key, by first delivery."""
    return _in_order(name, record, delivered, producers, None)


def per_partition(name: str, record: Record, delivered: Delivered, producers: list[int]) -> Finding:
    """Order of each producer's messages of one partition, whatever their key, by first delivery.

    Partitions are those from which the messages were first delivered: not every sender is told.
    """
    return _in_order(name, record, delivered, producers, "partition")


def firsts(record: Record, delivered: Delivered, producers: list[int]) -> Firsts:
    """What the order of these producers' messages is judged by: first deliveries of those that were acknowledged."""
    delivered = delivered.known()
    first = delivered.first(len(record.sent))
    sent = record.sent
    message = np.flatnonzero(sent.by(producers) & (first >= 0) & (sent.outcome == Outcome.ACKNOWLEDGED))
    at = first[message]
    chosen = delivered.only(at)
    return Firsts(
        {
            **{name: getattr(sent, name)[message] for name in ("producer", "seq", "key")},
            **{name: chosen.column(name) for name in ("reader", "batch", "slot", "partition", "place", "received_ns")},
            "ended_ns": _processing_ended(record, delivered)[at],
        }
    )


def unknown_sends(record: Record, producers: list[int]) -> int:
    return int((record.sent.by(producers) & (record.sent.outcome == Outcome.UNKNOWN)).sum())


def along(name: str, these: Firsts, within: str | None, *, several: bool) -> tuple[Finding, Firsts]:
    """Order of messages that stand in order of (producer, seq), and the last of each line: what follows is after those.

    ``within``: the column that divides a producer's messages into lines; None: nothing does. ``several``: more than one
    reader is there.
    """
    line = _numbered(these["producer"], None if within is None else these[within])
    order = stable_order(line)
    alike = line[order[1:]] == line[order[:-1]]
    earlier, later = order[:-1][alike], order[1:][alike]
    overtaken = these.sooner(later, earlier)
    overlapping = ~overtaken & (these["reader"][later] != these["reader"][earlier])
    apart = np.flatnonzero(overlapping)
    overlapping[apart] = these["received_ns"][later[apart]] < these["ended_ns"][earlier[apart]]
    wrong = np.flatnonzero(overtaken | overlapping)
    note = f"{int(overtaken.sum())} delivered before an earlier one"
    if several:
        note += f", {int(overlapping.sum())} delivered to another consumer while an earlier one was in process"
    found = Finding(
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
        note=note,
    )
    return found, these.only(np.sort(np.delete(order, np.flatnonzero(alike))))


def several_readers(record: Record) -> bool:
    return len(record.history.readers(channel=record.channel)) > 1


def _in_order(name: str, record: Record, delivered: Delivered, producers: list[int], within: str | None) -> Finding:
    found, _ = along(name, firsts(record, delivered, producers), within, several=several_readers(record))
    return replace(found, unknown=unknown_sends(record, producers))


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
    lines = _lines(record, ours & (processed >= 0))
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
                (int(lines.message[at]), int(rank[at])),
                (int(delivered.message[best[at + 1]]), int(best[at + 1])),
            )
            for at in bad[:MAX_OFFENDERS].tolist()
        ),
        note="an observation is a message that was released at least once",
    )


def lines(record: Record, message: Ids) -> Column:
    """The line of each message: its producer and key, as a number."""
    return _numbered(record.sent.producer[message], record.sent.key[message])


def _numbered(producer: Column, part: Column | None) -> Column:
    line: Column = producer.astype(np.int64)
    if part is not None and len(line):
        low, high = int(part.min()), int(part.max())
        if high - low > _WIDE:
            part = np.unique(part, return_inverse=True)[1]
            low, high = 0, int(part.max())
        line = line * (high - low + 1) + (part - low)
    if len(line) and line.max() <= np.iinfo(np.uint16).max:
        line = line.astype(np.uint16)  # NumPy sorts 16 bits by radix
    return line


def _lines(record: Record, chosen: Mask) -> _Lines:
    """Ids stand in order of (producer, seq) already: one stable sort by line is all that is needed."""
    message = np.flatnonzero(chosen)
    line = lines(record, message)
    order = stable_order(line)
    return _Lines(message[order], line[order])


def _processing_ended(record: Record, delivered: Delivered) -> Ids:
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
    record: Record,
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
