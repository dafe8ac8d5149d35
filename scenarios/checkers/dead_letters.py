"""Does a message become a dead letter, unaltered, exactly when it failed often enough?

A message is *due* when a consumer rejected it, or when as many of its deliveries failed as its channel's policy allows:
released, or never settled until a proven drain. It *may* be due when settlements whose answer is unknown could have
made it so. A message that is due must be found; one that cannot be due must not. Cases in between are unknown.

A letter whose stamp is damaged is taken for the message that its stamp names, if that message is due and has no other
letter; or, if one such letter and one such message are left, for that message. Any other damaged letter could be any
missing one: for each of them one missing letter is not claimed.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from brokerbench.brokers.types import NO_PLACE
from brokerbench.scenarios.checkers import arrivals
from brokerbench.scenarios.checkers.index import channel_index
from brokerbench.scenarios.checkers.index.channel_index import NEVER, ChannelIndex, Delivered, Ids, Mask, offenders
from brokerbench.scenarios.history import Action
from brokerbench.scenarios.history.stamp import CORRUPT
from brokerbench.scenarios.verdicts import Count, Counts, Finding

_SETTLING = (Action.ACKNOWLEDGE, Action.RELEASE, Action.REJECT)


@dataclass(frozen=True, slots=True)
class Letters:
    """Deliveries from the channel of dead letters, as messages of ``index``; and by message whether it was due."""

    index: ChannelIndex
    delivered: Delivered
    due: Mask
    may: Mask


def of(index: ChannelIndex, group: Delivered, channel: str, max_deliveries: int, *, all_seen: bool) -> Letters:
    """``group``: deliveries to *one* group, whose failures count; ``channel``: where its dead letters go.

    ``all_seen``: no reader was lost with deliveries that it had not recorded. Where one was, any message that was not
    acknowledged may be due.
    """
    due, may = _due(index, group, max_deliveries, all_seen)
    return Letters(index, _named(index, channel_index.elsewhere(index, channel), due), due, may)


def concerned(
    index: ChannelIndex, group: Delivered, letters: Delivered, max_deliveries: int, *, all_seen: bool
) -> Mask:
    """Messages of a shard that these checks concern: those that are or may be due, and those with a letter."""
    due, may = _due(index, group, max_deliveries, all_seen)
    found: Mask = due | may
    found[letters.message[letters.message >= 0]] = True
    return found


def _due(index: ChannelIndex, group: Delivered, max_deliveries: int, all_seen: bool) -> tuple[Mask, Mask]:
    """By message: whether it is due, and whether it may be."""
    group = group.known()
    count = len(index.sent)
    asked = {action: group.settled(action).asked_ns != NEVER for action in _SETTLING}
    answered = {action: group.settled(action).settled_ns != NEVER for action in _SETTLING}
    settled = np.logical_or.reduce(list(asked.values()))
    open_ = np.logical_or.reduce([asked[action] & ~answered[action] for action in _SETTLING])
    failed = np.bincount(group.message[answered[Action.RELEASE] | ~settled], minlength=count)
    doubtful = np.bincount(group.message[open_], minlength=count)

    def of_any(deliveries: Mask) -> Mask:
        found = np.zeros(count, bool)
        found[group.message[deliveries]] = True
        return found

    acknowledged = of_any(answered[Action.ACKNOWLEDGE])
    due = ~acknowledged & (of_any(answered[Action.REJECT]) | (failed >= max_deliveries))
    may = of_any(asked[Action.REJECT]) | (failed + doubtful >= max_deliveries)
    if not all_seen:
        may |= ~acknowledged
    return due, may


def complete(letters: Letters, *, drained: bool) -> Finding:
    """``dead_letter.complete``: each message that is due is found. Observations are messages that are due.

    ``drained``: it was proven that nothing is left in either channel. Else a missing letter is open.
    """
    index, delivered = letters.index, letters.delivered
    missing = np.flatnonzero(letters.due & (delivered.first < 0))
    unclaimed = min(len(missing), int((delivered.message < 0).sum())) if drained else len(missing)
    claimed = missing if drained and not unclaimed else missing[:0]
    doubtful = int((letters.may & ~letters.due).sum())
    return Finding(
        "dead_letter.complete",
        observations=int(letters.due.sum()) - unclaimed,
        violations=len(missing) - unclaimed,
        unknown=doubtful,
        open=unclaimed,
        offenders=offenders(claimed, index.sent.describe_with_place),
        remarks=(Counts(((Count.UNCLAIMED_LETTERS, unclaimed),)),) if drained and unclaimed else (),
    )


def only_failed(letters: Letters) -> Finding:
    """``dead_letter.only_failed``: no other message is found, and none twice. Observations are letters."""
    index, delivered = letters.index, letters.delivered
    message = delivered.message
    known = message >= 0
    never_sent = ~known & (delivered.column("status") != CORRUPT)
    undue = known & ~letters.may[message]
    twice = _again_elsewhere(delivered)
    bad = np.flatnonzero(never_sent | undue | twice)
    kinds = np.where(never_sent, "never sent", np.where(undue, "not due", "twice"))
    return Finding(
        "dead_letter.only_failed",
        observations=len(delivered),
        violations=len(bad),
        unknown=int((known & letters.may[message] & ~letters.due[message]).sum()),
        offenders=offenders(bad, lambda at: {"kind": str(kinds[at]), **index.describe(delivered, at)}),
        remarks=("places are those of the channel of dead letters",),
    )


def intact(letters: Letters) -> Finding:
    """``dead_letter.intact``: letters are byte for byte as sent. Observations are letters of some message."""
    return arrivals.altered(letters.index, letters.delivered, "dead_letter.intact")


def _named(index: ChannelIndex, delivered: Delivered, due: Mask) -> Delivered:
    """The same letters; damaged ones attributed to the message that they must have been, where that can be told."""
    damaged = np.flatnonzero(delivered.column("status") == CORRUPT)
    message = delivered.message.copy()
    left = due.copy()
    left[message[message >= 0]] = False
    for at, claim in zip(damaged.tolist(), _claims(index, delivered.only(damaged)).tolist(), strict=True):
        if claim >= 0 and left[claim]:
            message[at] = claim
            left[claim] = False
    nameless, unfound = np.flatnonzero(message < 0), np.flatnonzero(left)
    if len(nameless) == len(unfound) == 1:
        message[nameless] = unfound
    return replace(delivered, message=message)


def _claims(index: ChannelIndex, delivered: Delivered) -> Ids:
    """The messages that the stamps of these name, or -1: not to be relied on."""
    return index.numbers.ids(delivered.column("producer"), delivered.column("seq"))


def _again_elsewhere(delivered: Delivered) -> Mask:
    """Letters of a message that has an earlier letter at another place. (At the same place it is a redelivery.)"""
    place, partition = delivered.column("place"), delivered.column("partition")
    first = delivered.first[delivered.message]
    other = (place != place[first]) | (partition != partition[first])
    again: Mask = (delivered.message >= 0) & (place != NO_PLACE) & other
    return again
