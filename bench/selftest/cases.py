"""Which checker must see which fault, where the fault can strike, and which other checkers may answer to it.

Every fault has a case, and every answer of a checker to a fault not its own stands in ``CROSS`` with its reason: an
answer that does not stand there is reported like a false alarm.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from bench.selftest.story import Story
from brokers.faulty import FaultName
from brokers.types import Outcome
from scenarios.history import Action, Column, Columns, History

Spots = npt.NDArray[np.int64]
"""Two columns: partition, place."""


@dataclass(frozen=True, slots=True)
class Case:
    """``where``: the messages of a clean history that the fault can hit in this story."""

    story: Story
    checker: str
    where: Callable[[History], Spots]


def any_message(history: History) -> Spots:
    settled = history.settled
    return _spots(settled, settled["outcome"] == Outcome.ACKNOWLEDGED)


def followed(history: History) -> Spots:
    """First deliveries to a group with a later one of their key in the same batch."""
    rows = history.deliveries
    return _spots(
        rows, _is_followed(rows, np.isin(rows["reader"], _consumers(history)) & (rows["delivery_count"] == 1))
    )


def followed_in_replay(history: History) -> Spots:
    rows = history.deliveries
    return _spots(rows, _is_followed(rows, ~np.isin(rows["reader"], _consumers(history))))


def released(history: History) -> Spots:
    """Released deliveries with a later one of their key released from the same batch: what will overtake them."""
    rows, settles = history.deliveries, history.settles
    wide = np.int64(rows["slot"].max()) + 1
    deep = np.int64(rows["batch"].max()) + 1

    def code(table: Columns) -> Column:
        return (table["reader"].astype(np.int64) * deep + table["batch"]) * wide + table["slot"]

    back = np.isin(code(rows), code(settles)[settles["action"] == Action.RELEASE])
    return _spots(rows, _is_followed(rows, back & (rows["delivery_count"] == 1)))


def _consumers(history: History) -> list[int]:
    return history.readers(kind="consumer")


def _spots(rows: Columns, chosen: npt.NDArray[np.bool_]) -> Spots:
    return np.stack([rows["partition"][chosen].astype(np.int64), rows["place"][chosen]], axis=1)


def _is_followed(rows: Columns, among: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    chosen = np.flatnonzero(among)
    columns = [rows[name][chosen] for name in ("slot", "key", "batch", "reader")]
    order = np.lexsort(columns)
    same = np.ones(len(order) - 1, bool)
    for column in columns[1:]:
        same &= column[order[1:]] == column[order[:-1]]
    found = np.zeros(len(among), bool)
    found[chosen[order[:-1][same]]] = True
    return found


CASES: Mapping[FaultName, Case] = {
    FaultName.LOSE: Case(Story.DELIVER, "delivery.no_loss", any_message),
    # One consumer: whether another had asked for its batch before the acknowledgement is not known.
    FaultName.DUPLICATE: Case(Story.LINE, "delivery.no_duplicate", any_message),
    FaultName.REORDER_WITHIN_KEY: Case(Story.DELIVER, "ordering.per_key", followed),
    FaultName.REORDER_ACROSS_REDELIVERY: Case(Story.DELIVER, "ordering.after_redelivery", released),
    FaultName.CORRUPT: Case(Story.LINE, "delivery.intact", any_message),
    FaultName.PHANTOM: Case(Story.DELIVER, "delivery.no_phantom", any_message),
    FaultName.REJECT_BUT_DELIVER: Case(Story.DELIVER, "delivery.no_rejected", any_message),
    FaultName.UNKNOWN_OUTCOME: Case(Story.DELIVER, "send.settled", any_message),
    FaultName.EARLY_REDELIVERY: Case(Story.LINE, "redelivery.not_early", any_message),
    FaultName.EXPIRE_EARLY: Case(Story.KEEP, "retention.not_early", any_message),
    FaultName.EXPIRE_LATE: Case(Story.KEEP, "retention.by_age", any_message),
    FaultName.REPLAY_GAP: Case(Story.LINE, "replay.complete", any_message),
    FaultName.REPLAY_REORDER: Case(Story.LINE, "replay.order", followed_in_replay),
    FaultName.REPLAY_ALTERED: Case(Story.LINE, "replay.intact", any_message),
}

_DISORDER = "a replay brings back the order of the log, which is not the order in which the fault delivered"
_LINE = "what is out of order within its key is so within its partition and channel too"
_NOT_READ = "a message that a reader does not get while it should be kept looks as if it were removed early"

CROSS: Mapping[tuple[FaultName, str], str] = {
    (FaultName.LOSE, "retention.not_early"): _NOT_READ,
    (FaultName.REPLAY_GAP, "retention.not_early"): _NOT_READ,
    (FaultName.REORDER_WITHIN_KEY, "replay.order"): _DISORDER,
    (FaultName.REORDER_WITHIN_KEY, "ordering.per_partition"): _LINE,
    (FaultName.REORDER_WITHIN_KEY, "ordering.channel"): _LINE,
    (FaultName.REJECT_BUT_DELIVER, "delivery.no_phantom"): "a rejected message that is delivered should not exist",
    (FaultName.REJECT_BUT_DELIVER, "replay.complete"): "a rejected message that is replayed is one too many",
    (FaultName.EARLY_REDELIVERY, "delivery.count"): "the extra delivery uses a number that a later one uses again",
}
