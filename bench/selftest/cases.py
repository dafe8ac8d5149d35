"""Which checker must see which fault, where the fault can strike, and which other checkers may answer to it.

Every fault has a case. ``CROSS`` lists every answer of a checker to another checker's fault, with the reason; any other
answer is reported like a false alarm.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from brokerbench.bench.selftest.scripts import LETTERS, Mask, Script
from brokerbench.bench.selftest.simulation import CHANNEL
from brokerbench.brokers.faulty import FaultName
from brokerbench.brokers.faulty.deduplication import place_of
from brokerbench.brokers.types import NO_PARTITION, Outcome
from brokerbench.scenarios.clients.recording import deduplication_id
from brokerbench.scenarios.history import Action, Column, Columns, History

Spots = npt.NDArray[np.int64]
"""Two columns: partition, place."""


@dataclass(frozen=True, slots=True)
class Case:
    """``where``: the messages of a clean history of this script that the fault can hit."""

    script: Script
    checker: str
    where: Callable[[History], Spots]


def acknowledged_at_once(history: History) -> Spots:
    """Messages whose first delivery was acknowledged: until then a consumer held them."""
    rows = history.deliveries
    return _spots(rows, _taken(history) & _is_first(rows) & _settled(history, Action.ACKNOWLEDGE))


def later_on_its_partition(history: History) -> Spots:
    """Messages with another before them on their partition, of a lower producer, or of the same and sent before.

    Of two messages of one place the checker names that which is later in this order.
    """
    settled = history.send_outcomes
    order = np.lexsort([settled["place"], settled["partition"]])
    partition, producer, seq = (settled[name][order] for name in ("partition", "producer", "seq"))
    lower = (producer[:-1] < producer[1:]) | ((producer[:-1] == producer[1:]) & (seq[:-1] < seq[1:]))
    chosen = np.zeros(len(order), bool)
    chosen[order[1:][lower & (partition[1:] == partition[:-1])]] = True
    return _spots(settled, chosen)


def any_message(history: History) -> Spots:
    settled = history.send_outcomes
    return _spots(settled, settled["outcome"] == Outcome.ACKNOWLEDGED)


def the_last(history: History) -> Spots:
    """The last messages of each partition: not yet delivered when the broker crashed."""
    settled = history.send_outcomes
    chosen = np.zeros(len(settled["place"]), bool)
    for partition in np.unique(settled["partition"]).tolist():
        ours = settled["partition"] == partition
        chosen |= ours & (settled["place"] > settled["place"][ours].max() - _TAIL)
    return _spots(settled, chosen)


def followed(history: History) -> Spots:
    """First deliveries to the group with a later one of their key in the same batch."""
    rows = history.deliveries
    return _spots(rows, _next(rows, _taken(history) & _is_first(rows), ("reader", "batch", "broker_key")))


def followed_in_partition(history: History) -> Spots:
    """The next of the partition in the same batch has the same producer and another key."""
    rows, chosen, within = history.deliveries, _taken(history), ("reader", "batch", "partition")
    same_producer = _next(rows, chosen, within, alike="producer")
    same_key = _next(rows, chosen, within, alike="broker_key")
    return _spots(rows, same_producer & ~same_key)


def followed_elsewhere(history: History) -> Spots:
    """The next in the same batch has the same producer and is of another partition."""
    rows, chosen = history.deliveries, _taken(history)
    same_producer = _next(rows, chosen, ("reader", "batch"), alike="producer")
    same_partition = _next(rows, chosen, ("reader", "batch"), alike="partition")
    return _spots(rows, same_producer & ~same_partition)


def followed_in_replay(history: History) -> Spots:
    rows = history.deliveries
    return _spots(rows, _next(rows, _read_again(history), ("reader", "batch", "broker_key")))


def read_before_another(history: History) -> Spots:
    """What a reader got before a later message of the partition, which shows that it came past."""
    rows, chosen = history.deliveries, _read_again(history)
    return _spots(rows, _next(rows, chosen, ("reader", "batch", "partition")))


def last_of_a_read(history: History) -> Spots:
    """The last message of each batch of a reader: a reader that goes back to here reads one message twice."""
    rows, chosen = history.deliveries, _read_again(history)
    return _spots(rows, chosen & ~_next(rows, chosen, ("reader", "batch")))


def released(history: History) -> Spots:
    """Released deliveries with a later one of their key released from the same batch, which will overtake them."""
    rows = history.deliveries
    back = _settled(history, Action.RELEASE) & _is_first(rows)
    return _spots(rows, _next(rows, back, ("reader", "batch", "broker_key")))


def acknowledged(history: History) -> Spots:
    """Messages that the group acknowledged: they became no dead letters."""
    return _spots(history.deliveries, _taken(history) & _settled(history, Action.ACKNOWLEDGE))


def left_behind(history: History) -> Spots:
    """Deliveries to consumers that died with them, and with no later one of their key."""
    rows, chosen = history.deliveries, _left(history)
    return _spots(rows, chosen & ~_next(rows, chosen, ("broker_key",)))


def left_behind_in_order(history: History) -> Spots:
    """Deliveries to consumers that died with them and a later one of their key, which will overtake them."""
    rows = history.deliveries
    return _spots(rows, _next(rows, _left(history), ("reader", "batch", "broker_key")))


def repeated(history: History) -> Spots:
    """Identities that were sent twice. The fault chooses by identity."""
    numbers, counts = np.unique(_identities(history), return_counts=True)
    return _of_identities(numbers[counts > 1])


def new(history: History) -> Spots:
    """Identities that were sent once, except the first one: no earlier message could be taken for it."""
    numbers, counts = np.unique(_identities(history), return_counts=True)
    return _of_identities(numbers[(counts == 1) & (numbers > 0)])


def _identities(history: History) -> Column:
    return np.concatenate([np.array(mark["identities"], np.int64) for mark in history.events("identities")])


def _of_identities(numbers: Column) -> Spots:
    places = [place_of(deduplication_id(number)) for number in numbers.tolist()]
    return np.stack([np.full(len(places), NO_PARTITION, np.int64), np.array(places, np.int64)], axis=1)


def any_letter(history: History) -> Spots:
    """Places in the channel of dead letters."""
    rows = history.deliveries
    return _spots(rows, np.isin(rows["reader"], history.readers(channel=LETTERS)))


def _taken(history: History) -> Mask:
    return np.isin(history.deliveries["reader"], history.readers(channel=CHANNEL, kind="consumer"))


def _read_again(history: History) -> Mask:
    return np.isin(history.deliveries["reader"], history.readers(channel=CHANNEL, kind="reader"))


def _left(history: History) -> Mask:
    return _taken(history) & ~(_settled(history, Action.ACKNOWLEDGE) | _settled(history, Action.RELEASE))


def _is_first(rows: Columns) -> Mask:
    first: Mask = rows["delivery_count"] == 1
    return first


def _settled(history: History, action: Action) -> Mask:
    rows, acknowledgements = history.deliveries, history.acknowledgements
    wide = np.int64(rows["slot"].max(initial=0)) + 1
    deep = np.int64(rows["batch"].max(initial=0)) + 1

    def code(table: Columns) -> Column:
        return (table["reader"].astype(np.int64) * deep + table["batch"]) * wide + table["slot"]

    return np.isin(code(rows), code(acknowledgements)[acknowledgements["action"] == action])


def _spots(rows: Columns, chosen: Mask) -> Spots:
    return np.stack([rows["partition"][chosen].astype(np.int64), rows["place"][chosen]], axis=1)


def _next(rows: Columns, among: Mask, within: Sequence[str], alike: str = "") -> Mask:
    """Rows of ``among`` whose next row with equal ``within`` columns exists, and is equal in ``alike`` too."""
    chosen = np.flatnonzero(among)
    columns = [rows[name][chosen] for name in ("slot", *reversed(within))]
    order = np.lexsort(columns)
    compared = [*columns[1:], *([rows[alike][chosen]] if alike else [])]
    same = np.logical_and.reduce([column[order[1:]] == column[order[:-1]] for column in compared])
    found = np.zeros(len(among), bool)
    found[chosen[order[:-1][same]]] = True
    return found


_TAIL = 5

CASES: Mapping[FaultName, Case] = {
    FaultName.LOSE: Case(Script.DELIVER, "delivery.no_loss", any_message),
    FaultName.WITHHOLD: Case(Script.DELIVER, "delivery.no_loss", any_message),
    FaultName.LOSE_LAST_BEFORE_CRASH: Case(Script.CRASH, "delivery.no_loss", the_last),
    FaultName.LOSE_AND_DUPLICATE: Case(Script.LINE, "delivery.no_loss", any_message),
    # One consumer: of another, it is not known whether it asked for its batch before the acknowledgement.
    FaultName.DUPLICATE: Case(Script.LINE, "delivery.no_duplicate", any_message),
    FaultName.DUPLICATE_AFTER_LEASE: Case(Script.LINE, "delivery.no_duplicate", any_message),
    FaultName.REORDER_WITHIN_KEY: Case(Script.DELIVER, "ordering.per_key", followed),
    FaultName.REORDER_WITHIN_PARTITION: Case(Script.LINE, "ordering.per_partition", followed_in_partition),
    FaultName.REORDER_ACROSS_PARTITIONS: Case(Script.LINE, "ordering.channel", followed_elsewhere),
    FaultName.REORDER_ACROSS_REDELIVERY: Case(Script.DELIVER, "ordering.after_redelivery", released),
    FaultName.CORRUPT: Case(Script.LINE, "delivery.intact", any_message),
    FaultName.CORRUPT_LAST_BYTE: Case(Script.LINE, "delivery.intact", any_message),
    FaultName.TRUNCATE: Case(Script.LINE, "delivery.intact", any_message),
    FaultName.PHANTOM: Case(Script.DELIVER, "delivery.no_phantom", any_message),
    FaultName.REJECT_BUT_DELIVER: Case(Script.DELIVER, "delivery.no_rejected", any_message),
    FaultName.UNKNOWN_OUTCOME: Case(Script.DELIVER, "send.settled", any_message),
    FaultName.UNKNOWN_AND_LOSE: Case(Script.DELIVER, "send.settled", any_message),
    FaultName.REFUSE: Case(Script.DELIVER, "send.taken", any_message),
    FaultName.LOSE_ACKNOWLEDGEMENT: Case(Script.LINE, "redelivery.none", any_message),
    FaultName.EARLY_REDELIVERY: Case(Script.LINE, "redelivery.not_early", any_message),
    FaultName.LATE_REDELIVERY: Case(Script.LAPSE, "redelivery.not_late", left_behind),
    FaultName.REORDER_ACROSS_LEASE: Case(Script.LAPSE, "ordering.while_waiting", left_behind_in_order),
    FaultName.DEDUPLICATION_MISSED: Case(Script.REPEAT, "deduplication.applied", repeated),
    FaultName.DEDUPLICATION_WRONG: Case(Script.REPEAT, "deduplication.only_repeats", new),
    FaultName.WRONG_COUNT: Case(Script.LINE, "delivery.count", any_message),
    FaultName.DEAD_LETTER_MISSING: Case(Script.FAIL, "dead_letter.complete", any_letter),
    FaultName.DEAD_LETTER_EXTRA: Case(Script.FAIL, "dead_letter.only_failed", acknowledged),
    FaultName.DEAD_LETTER_ALTERED: Case(Script.FAIL, "dead_letter.intact", any_letter),
    FaultName.EXPIRE_EARLY: Case(Script.KEEP, "retention.not_early", any_message),
    FaultName.EXPIRE_LATE: Case(Script.KEEP, "retention.by_age", any_message),
    FaultName.UNREADABLE_EARLY: Case(Script.KEEP, "retention.not_early", any_message),
    FaultName.READABLE_LATE: Case(Script.KEEP, "retention.by_age", any_message),
    FaultName.NEWEST_REMOVED: Case(Script.EXCEED, "retention.by_size", read_before_another),
    FaultName.REPLAY_GAP: Case(Script.LINE, "replay.complete", any_message),
    FaultName.REPLAY_REORDER: Case(Script.LINE, "replay.order", followed_in_replay),
    FaultName.REPLAY_STALE_POSITION: Case(Script.LINE, "replay.complete", last_of_a_read),
    FaultName.REPLAY_ALTERED: Case(Script.LINE, "replay.intact", any_message),
    FaultName.DUPLICATE_WHILE_HELD: Case(Script.DELIVER, "delivery.no_duplicate", acknowledged_at_once),
    FaultName.WRONG_KEY: Case(Script.DELIVER, "delivery.key", any_message),
    FaultName.WRONG_PLACE: Case(Script.DELIVER, "delivery.place", any_message),
    FaultName.WRONG_PLACE_TOLD: Case(Script.LINE, "delivery.place", any_message),
    FaultName.SHARED_PLACE: Case(Script.LINE, "delivery.own_place", later_on_its_partition),
    FaultName.TIME_OFF: Case(Script.DELIVER, "delivery.broker_time", any_message),
    FaultName.TIME_BACK: Case(Script.LINE, "delivery.broker_time_order", later_on_its_partition),
    FaultName.SETTLED_TWICE: Case(Script.DELIVER, "send.settled_once", any_message),
}

_DISORDER = "a replay brings back the order of the log, which is not the order in which the fault delivered"
_LINE = "what is out of order within its key or partition is so in what holds them too"
_NOT_READ = "a message that a reader does not get while it should be kept looks as if it were removed early"
_NOT_KEPT = "a message that a reader does not get although the broker says that it is kept looks as if it were removed"
_LETTERS_TOO = "the fault strikes in the channel of dead letters as well"
_EARLY = "a second delivery while a consumer holds the message breaks both statements"
_AWAY = "the place of the message before it is on another partition"
_ELSEWHERE = "at another place a message's time is not between those of its neighbours"
_BEHIND = "what waits in its key for the end of the lease is overtaken by other keys"

CROSS: Mapping[tuple[FaultName, str], str] = {
    (FaultName.LOSE, "retention.not_early"): _NOT_READ,
    (FaultName.WITHHOLD, "retention.not_early"): _NOT_READ,
    (FaultName.LOSE, "retention.by_size"): _NOT_KEPT,
    (FaultName.WITHHOLD, "retention.by_size"): _NOT_KEPT,
    (FaultName.LOSE_AND_DUPLICATE, "retention.by_size"): _NOT_KEPT,
    (FaultName.REPLAY_GAP, "retention.by_size"): _NOT_KEPT,
    (FaultName.LOSE_AND_DUPLICATE, "delivery.no_duplicate"): "the other half of the fault: counts agree",
    (FaultName.LOSE_AND_DUPLICATE, "dead_letter.complete"): _LETTERS_TOO,
    (FaultName.LOSE_AND_DUPLICATE, "retention.not_early"): _NOT_READ,
    (FaultName.UNKNOWN_AND_LOSE, "dead_letter.complete"): _LETTERS_TOO,
    (FaultName.REORDER_WITHIN_KEY, "replay.order"): _DISORDER,
    (FaultName.REORDER_WITHIN_KEY, "ordering.per_partition"): _LINE,
    (FaultName.REORDER_WITHIN_KEY, "ordering.channel"): _LINE,
    (FaultName.REORDER_WITHIN_PARTITION, "ordering.channel"): _LINE,
    (FaultName.REORDER_ACROSS_REDELIVERY, "ordering.while_waiting"): "the same seen from the message that waits",
    (FaultName.CORRUPT, "dead_letter.intact"): _LETTERS_TOO,
    (FaultName.CORRUPT_LAST_BYTE, "dead_letter.intact"): _LETTERS_TOO,
    (FaultName.TRUNCATE, "dead_letter.intact"): _LETTERS_TOO,
    (FaultName.REJECT_BUT_DELIVER, "delivery.no_phantom"): "a rejected message that is delivered should not exist",
    (FaultName.REJECT_BUT_DELIVER, "replay.complete"): "a rejected message that is replayed is one too many",
    (FaultName.LOSE_ACKNOWLEDGEMENT, "ordering.per_partition"): _BEHIND,
    (FaultName.LOSE_ACKNOWLEDGEMENT, "ordering.channel"): _BEHIND,
    (FaultName.LOSE_ACKNOWLEDGEMENT, "redelivery.after_release"): "a released message waits behind one of its key "
    "whose acknowledgement was lost",
    (FaultName.EARLY_REDELIVERY, "delivery.no_duplicate"): _EARLY,
    (FaultName.DUPLICATE_WHILE_HELD, "redelivery.not_early"): _EARLY,
    (FaultName.DUPLICATE_WHILE_HELD, "delivery.count"): "the extra delivery uses a number that a later one uses again",
    (FaultName.DUPLICATE_WHILE_HELD, "ordering.while_waiting"): "the extra delivery overtakes those that wait",
    (FaultName.EARLY_REDELIVERY, "delivery.count"): "the extra delivery uses a number that a later one uses again",
    (FaultName.WRONG_PLACE_TOLD, "delivery.broker_time_order"): _ELSEWHERE,
    (FaultName.SHARED_PLACE, "delivery.broker_time_order"): _ELSEWHERE,
    (FaultName.TIME_OFF, "delivery.broker_time_order"): "the next time on its partition is an hour before it",
    (FaultName.DEDUPLICATION_WRONG, "delivery.own_place"): "its sender is told the place of the message before it",
    (FaultName.DEDUPLICATION_WRONG, "delivery.key_partition"): _AWAY,
    (FaultName.DEDUPLICATION_WRONG, "delivery.no_loss"): "a new message that is swallowed as a repeat is lost",
    (FaultName.REPLAY_GAP, "retention.not_early"): _NOT_READ,
}
