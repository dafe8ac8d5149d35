"""Small histories typed by hand."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from brokerbench.brokers.types import NO_TIME, Outcome
from brokerbench.scenarios.checkers.index import channel_index
from brokerbench.scenarios.checkers.index.channel_index import ChannelIndex
from brokerbench.scenarios.history import SCHEMAS, Action, Columns, History
from brokerbench.scenarios.history.broker_keys import UNTOLD_KEY
from brokerbench.scenarios.history.stamp import INTACT
from brokerbench.scenarios.verdicts import Count, Counts

CHANNEL = "c"
_DEFAULTS = {
    "outcome": int(Outcome.ACKNOWLEDGED),
    "status": INTACT,
    "partition": 0,
    "place": -1,
    "size": 64,
    "broker_key": UNTOLD_KEY,
    "broker_epoch_ns": NO_TIME,
}


def table(kind: str, rows: Sequence[dict[str, int]]) -> Columns:
    """Columns of one table; what a row does not name is its default, or 0; calls begin at no told time."""
    defaults = {**_DEFAULTS, **({"asked_ns": NO_TIME} if kind == "deliveries" else {})}
    return {
        field.name: np.array(
            [row.get(field.name, defaults.get(field.name, 0)) for row in rows], field.type.to_pandas_dtype()
        )
        for field in SCHEMAS[kind]
    }


def sends(keys: Sequence[int], producer: int = 0, **outcomes: Outcome) -> tuple[list[dict[str, int]], ...]:
    """Sends with these keys at places 0, 1, 2 ..., and their settlements; ``s3=Outcome.UNKNOWN`` names another fate."""
    sent = [
        {"producer": producer, "seq": seq, "key": key, "checksum": 1000 + seq, "sent_ns": seq}
        for seq, key in enumerate(keys)
    ]
    settled = [
        {
            "producer": producer,
            "seq": seq,
            "place": seq,
            "outcome": int(outcomes.get(f"s{seq}", Outcome.ACKNOWLEDGED)),
        }
        for seq in range(len(keys))
    ]
    return sent, settled


def got(seq: int, at_ns: int, reader: int = 0, batch: int | None = None, slot: int = 0, **other: int) -> dict[str, int]:
    """A delivery of producer 0's message; each is a batch of its own unless said otherwise."""
    batch = at_ns if batch is None else batch
    return {
        "reader": reader,
        "batch": batch,
        "slot": slot,
        "seq": seq,
        "place": seq,
        "checksum": 1000 + seq,
        "received_ns": at_ns,
        **other,
    }


def settle(delivery: dict[str, int], action: Action, asked_ns: int, **other: int) -> dict[str, int]:
    """A settlement that was answered one nanosecond after it was asked for."""
    place = {name: delivery[name] for name in ("reader", "batch", "slot")}
    return {**place, "action": int(action), "asked_ns": asked_ns, "settled_ns": asked_ns + 1, **other}


def typed(
    keys: Sequence[int],
    deliveries: Sequence[dict[str, int]],
    settles: Sequence[dict[str, int]] = (),
    marks: Sequence[dict[str, Any]] = (),
    **outcomes: Outcome,
) -> ChannelIndex:
    """One producer (0), readers 0 to 3 of one group, one channel."""
    return indexed(*sends(keys, **outcomes), deliveries, settles, marks)


def indexed(
    sent: Sequence[dict[str, int]],
    settled: Sequence[dict[str, int]],
    deliveries: Sequence[dict[str, int]] = (),
    settles: Sequence[dict[str, int]] = (),
    marks: Sequence[dict[str, Any]] = (),
    producers: Sequence[int] = (0,),
) -> ChannelIndex:
    """Rows of every table as they are; readers 0 to 3 of one group, one channel."""
    history = History(
        table("sends", sent),
        table("send_outcomes", settled),
        table("deliveries", deliveries),
        table("acknowledgements", settles),
        [*(producer(number) for number in producers), *(reader(number) for number in range(4)), *marks],
    )
    return channel_index.of_channel(history, CHANNEL)


def producer(number: int, channel: str = CHANNEL, **attributes: Any) -> dict[str, Any]:
    return {"event": "producer", "producer": number, "channel": channel, **attributes}


def reader(number: int, channel: str = CHANNEL, **attributes: Any) -> dict[str, Any]:
    return {"event": "reader", "reader": number, "kind": "consumer", "channel": channel, "group": "g", **attributes}


def place_of(delivery: dict[str, int]) -> dict[str, int]:
    """What an offender says of where and when it was delivered."""
    return {
        "partition": 0,
        **{name: delivery[name] for name in delivery.keys() & {"partition", "reader", "batch", "slot", "place"}},
        "received_ns": delivery["received_ns"],
    }


def counted(about: str = "", **numbers: int) -> Counts:
    """A remark of these counts, by their names in a result."""
    return Counts(tuple((Count(name), number) for name, number in numbers.items()), about)
