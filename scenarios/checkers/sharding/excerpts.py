"""All rows of selected messages, extracted from the shards: small enough to be judged at once.

A judgement that depends on few other messages (repeats of one identity, dead letters) is the same whether the rest of
the history is there or not.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from brokerbench.scenarios.checkers.index.channel_index import ChannelIndex, Delivered, Ids, Mask
from brokerbench.scenarios.history import SCHEMAS, History, select


def excerpt(part: ChannelIndex, messages: Mask, others: Sequence[Delivered] = ()) -> History:
    """All rows of these messages (a mask by id) on their channel, and the deliveries in ``others``."""
    history, delivered = part.history, part.delivered
    ours = delivered.rows[(delivered.message >= 0) & messages[delivered.message]]
    deliveries = np.sort(np.concatenate([ours, *(some.rows for some in others)]))
    taken = np.zeros(len(history.deliveries["slot"]), bool)
    taken[deliveries] = True
    return History(
        select(history.sends, part.numbers.rows[messages]),
        select(history.send_outcomes, _where(part.outcome_ids, messages)),
        select(history.deliveries, deliveries),
        select(history.acknowledgements, _where(part.delivered.settlements.delivery_of, taken)),
        history.marks,
    )


def _where(indices: Ids, chosen: Mask) -> Ids:
    """Rows whose index (-1: none) is chosen."""
    known = np.flatnonzero(indices >= 0)
    return known[chosen[indices[known]]]


def together(parts: Sequence[History]) -> History:
    """Joins the excerpts of all shards, of which there is at least one."""
    tables = (
        {name: np.concatenate([getattr(part, kind)[name] for part in parts]) for name in getattr(parts[0], kind)}
        for kind in SCHEMAS
    )
    sends, send_outcomes, deliveries, acknowledgements = tables
    return History(sends, send_outcomes, deliveries, acknowledgements, parts[0].marks)
