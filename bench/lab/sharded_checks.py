"""All checkers as in ``selftest.checks``, but on a history on disk that is judged shard by shard."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from brokerbench.bench.selftest.checks import CHECKS, ONE_BY_ONE, consumed, producers
from brokerbench.bench.selftest.scripts import LETTERS, MAX_DELIVERIES
from brokerbench.bench.selftest.simulation import CHANNEL
from brokerbench.scenarios.checkers import dead_letters, layout
from brokerbench.scenarios.checkers.index import channel_index
from brokerbench.scenarios.checkers.index.channel_index import ChannelIndex
from brokerbench.scenarios.checkers.sharding.deduplication import deduplicating
from brokerbench.scenarios.checkers.sharding.excerpts import excerpt
from brokerbench.scenarios.checkers.sharding.reduction import (
    PLACES,
    Reduction,
    adding,
    adding_each,
    extracting,
    in_order,
    searching,
)
from brokerbench.scenarios.history import History, Mark

_PER_KEY = "ordering.per_key"
_WITHIN: Mapping[str, str | None] = {"ordering.per_partition": "partition", "ordering.channel": None}
_LETTERS = ("dead_letter.complete", "dead_letter.only_failed", "dead_letter.intact")
_REPEATS = ("delivery.no_loss", "deduplication.applied", "deduplication.only_repeats")


def reductions(marks: Sequence[Mark]) -> Mapping[str | tuple[str, ...], Reduction[Any]]:
    """Reductions by the names of their findings: those of CHECKS, each once. ``marks`` are those of the history."""
    said = History({}, {}, {}, {}, marks)
    consumers = said.readers(channel=CHANNEL, kind="consumer")
    phase: Mark = next(said.events("phase", channel=CHANNEL), {})
    apart: dict[str | tuple[str, ...], Reduction[Any]] = {
        **{name: adding_each(name, check) for name, check in ONE_BY_ONE.items()},
        layout.NAMES: PLACES,
    }
    if phase.get("letters"):
        apart[_LETTERS] = extracting(_letters, [CHECKS[name] for name in _LETTERS])
    if phase.get("alone"):
        apart[(_PER_KEY, *_WITHIN)] = in_order(_PER_KEY, _WITHIN, consumed, producers)
    if consumers and phase.get("window_s") is not None:
        apart[_REPEATS] = deduplicating(consumed, float(phase["window_s"]))
    elif consumers:
        apart["delivery.no_loss"] = searching(consumed)
    done = {name for key in apart for name in ([key] if isinstance(key, str) else key)}
    return {**apart, **{name: adding(check) for name, check in CHECKS.items() if name not in done}}


def _letters(part: ChannelIndex) -> History:
    """The rows that concern dead letters: failing messages, and all letters."""
    letters = channel_index.elsewhere(part, LETTERS)
    chosen = dead_letters.concerned(part, consumed(part), letters, MAX_DELIVERIES, all_seen=True)
    return excerpt(part, chosen, [letters])
