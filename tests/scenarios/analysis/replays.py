"""Histories of replays, typed by hand, and their findings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from brokerbench.brokers.types import Outcome
from brokerbench.scenarios.analysis import replay
from brokerbench.scenarios.checkers.index import channel_index
from brokerbench.scenarios.checkers.index.channel_index import ChannelIndex
from brokerbench.scenarios.history import Action, History
from brokerbench.scenarios.verdicts import Finding
from tests.scenarios.checkers.histories import CHANNEL, got, producer, reader, sends, table

ACK = Action.ACKNOWLEDGE
REPLAY = 100


def attempt(mode: str = "from_beginning", number: int = REPLAY, **said: Any) -> dict[str, Any]:
    return {
        "event": "attempt",
        "mode": mode,
        "reader": number,
        "began_ns": 1000,
        "outcome": "read",
        "last": {"0": 100},
        "clock": "append",
        "resolution_ns": 2_000_000,
        **said,
    }


def again(seq: int, at_ns: int, number: int = REPLAY, **other: int) -> dict[str, int]:
    return got(seq, at_ns, reader=number, **other)


def history(
    keys: Sequence[int],
    deliveries: Sequence[dict[str, int]],
    attempts: Sequence[Mapping[str, Any]] = (),
    settles: Sequence[dict[str, int]] = (),
    marks: Sequence[Mapping[str, Any]] = (),
    **outcomes: Outcome,
) -> History:
    """Producer 0; reader 0 of the group ``first``, readers 1 and 2 of two others; 100 to 103 replay."""
    sent, settled = sends(keys, **outcomes)
    consumers = [reader(0, group="first"), reader(1, group="second"), reader(2, group="third")]
    replayers = [reader(REPLAY + number, kind="replay", group="") for number in range(4)]
    return History(
        table("sends", sent),
        table("send_outcomes", settled),
        table("deliveries", deliveries),
        table("acknowledgements", settles),
        [producer(0), *consumers, *replayers, *marks, *attempts],
    )


def judged(whole: History, made: Mapping[str, Any]) -> tuple[Finding, Finding]:
    """What ``complete`` and ``in_first_order`` say of one attempt."""
    it, first = taken(whole)
    return replay.complete(it, first, made), replay.in_first_order(it, first, made)


def taken(whole: History) -> tuple[ChannelIndex, replay.First]:
    it = channel_index.of_channel(whole, CHANNEL)
    return it, replay.first_deliveries(it, it.delivered.to([0]))


def findings(whole: History) -> dict[str, Finding]:
    return {finding.property: finding for finding in replay.examine(whole).findings}


def counts(finding: Finding) -> tuple[int, int, int]:
    return finding.observations, finding.violations, finding.open
