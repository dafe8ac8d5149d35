"""Does a released delivery come back without waiting for its lease, and how soon?"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from brokerbench.scenarios.checkers.index.channel_index import NEVER, ChannelIndex, Delivered, Ids, Mask, offenders
from brokerbench.scenarios.history import Action
from brokerbench.scenarios.verdicts import Finding


@dataclass(frozen=True, slots=True)
class Returned:
    """One entry a released delivery."""

    at: Ids
    """Index of the released delivery."""
    again: Ids
    """Index of the next delivery of the same message, or -1."""
    delay_ns: Ids
    """From the answer to the release until the message was received again; NEVER where it was not."""
    in_time: Mask
    """Received again before the lease of the released delivery would have ended."""

    def only(self, rows: Mask) -> Returned:
        return Returned(self.at[rows], self.again[rows], self.delay_ns[rows], self.in_time[rows])


def returned(index: ChannelIndex, delivered: Delivered, lease_s: float) -> Returned:
    """Releases that the broker accepted, each with the next delivery. ``delivered``: to one group."""
    delivered = delivered.known()
    following = np.full(len(delivered), -1, np.int64)
    following[delivered.pairs.earlier] = delivered.pairs.later
    released_ns = delivered.settled(Action.RELEASE).settled_ns
    at = np.flatnonzero(released_ns != NEVER)
    again = following[at]
    received = delivered.column("received_ns")
    came = again >= 0
    delay = np.where(came, received[again] - released_ns[at], NEVER)
    in_time = came & (received[again] < received[at] + int(lease_s * 1e9))
    return Returned(at, again, delay, in_time)


def comes_back(
    index: ChannelIndex, delivered: Delivered, lease_s: float, *, drained: bool, max_deliveries: int | None = None
) -> Finding:
    """``redelivery.after_release``. An attempt is a released delivery.

    An attempt without redelivery counts as failed only where no more was to come; else it is open. The last of
    ``max_deliveries`` needs no redelivery: the message goes to the dead letters.
    """
    delivered = delivered.known()
    back = returned(index, delivered, lease_s)
    if max_deliveries is not None:
        spent = np.bincount(delivered.message)[delivered.message[back.at]] >= max_deliveries
        back = back.only((back.again >= 0) | ~spent)
    if not len(back.at):
        return Finding("redelivery.after_release", remarks=("nothing was released",))
    counted = (back.again >= 0) | drained
    failed = np.flatnonzero(counted & ~back.in_time)
    return Finding(
        "redelivery.after_release",
        observations=int(counted.sum()),
        violations=len(failed),
        open=int((~counted).sum()),
        offenders=offenders(
            failed,
            lambda row: {**index.describe(delivered, int(back.at[row])), "came_back": bool(back.again[row] >= 0)},
        ),
        remarks=(f"in time means before the lease of {lease_s:g} s",),
    )
