"""Several groups on one channel: figures of each group, beside those of all together."""

from __future__ import annotations

from collections.abc import Iterable

from brokerbench.scenarios.base import Measured
from brokerbench.scenarios.checkers import order
from brokerbench.scenarios.checkers.index import channel_index
from brokerbench.scenarios.history import History, saved_history

ALL = "all"
"""The label ``group`` of a figure of all groups together, where there are several."""


def several(history: History) -> dict[str, list[int]]:
    """Readers of each group; none where there is only one."""
    groups = history.groups()
    return groups if len(groups) > 1 else {}


def out_of_order(history: History) -> Iterable[Measured]:
    """How often order per producer and key was broken in each group; nothing where messages have no key.

    A figure, not a verdict: the promise of a profile depends on its consumers, which ``ordering`` varies.
    """
    broken = dict.fromkeys(several(history), 0)
    if not broken or any((part["key"] < 0).any() for part in saved_history.stretches(history.sends, ("key",))):
        return
    compared = dict(broken)
    for channel in channel_index.channels(history):
        producers = history.producers(channel=channel)
        for part in channel_index.of_channel(history, channel).by_group():
            found = order.per_key("ordering.per_key", part, part.delivered, producers)
            broken[part.group] += found.violations
            compared[part.group] += found.observations
    for group, count in broken.items():
        note = f"of {compared[group]:,} neighbours of one producer and key"
        yield Measured("out_of_order", "pairs", (float(count),), {"group": group}, better="lower", note=note)
