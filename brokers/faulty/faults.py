"""The list of faults, by name."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class FaultName(StrEnum):
    """A fault, and the moment at which a message counts as hit."""

    LOSE = "lose"
    """Acknowledged, then never delivered nor replayed. Hit: when its delivery was withheld."""
    WITHHOLD = "withhold"
    """As ``lose``, and the backlog goes on counting it. Hit: when its delivery was withheld."""
    LOSE_LAST_BEFORE_CRASH = "lose_last_before_crash"
    """``Faulty.crash`` loses the last share ``rate`` of every channel's messages, as ``lose`` does, except those
    delivered before."""
    LOSE_AND_DUPLICATE = "lose_and_duplicate"
    """Lost, and another, acknowledged message is delivered again instead: as many deliveries as messages. Hit: the lost
    one; the other is hit by ``duplicate``."""
    DUPLICATE = "duplicate"
    """Delivered again although it was acknowledged. Hit: at the second delivery."""
    DUPLICATE_AFTER_LEASE = "duplicate_after_lease"
    """Delivered again although it was acknowledged, when its lease would have ended. Hit: at the second delivery."""
    REORDER_WITHIN_KEY = "reorder_within_key"
    """Changes places with the next message of its key, at first delivery. Hit: the one that comes too late."""
    REORDER_WITHIN_PARTITION = "reorder_within_partition"
    """Changes places with the next message of its partition, if that has another key (or none), at first delivery.
    Hit: the one that comes too late. Cannot be told where the two come from different producers."""
    REORDER_ACROSS_PARTITIONS = "reorder_across_partitions"
    """Changes places with the next message, if that is of another partition: breaks only the order of the channel."""
    REORDER_ACROSS_REDELIVERY = "reorder_across_redelivery"
    """Released, then overtaken by a later message of its key. Hit: the one that was overtaken."""
    REORDER_ACROSS_LEASE = "reorder_across_lease"
    """Not settled until its lease ended, then overtaken by a later message of its key. Hit: the one that was
    overtaken."""
    CORRUPT = "corrupt"
    """One byte anywhere in the payload is changed on delivery."""
    CORRUPT_LAST_BYTE = "corrupt_last_byte"
    """The last byte of the payload is changed on delivery: beyond any stamp at its head."""
    TRUNCATE = "truncate"
    """The last byte of the payload is missing on delivery."""
    PHANTOM = "phantom"
    """A message that was never sent is delivered. Hit: the phantom."""
    REJECT_BUT_DELIVER = "reject_but_deliver"
    """Settled as rejected, but kept and delivered."""
    UNKNOWN_OUTCOME = "unknown_outcome"
    """Settled as unknown, but kept and delivered."""
    UNKNOWN_AND_LOSE = "unknown_and_lose"
    """Settled as unknown, and lost: no fault of a broker, and no checker may say so."""
    REFUSE = "refuse"
    """Settled as rejected, and not kept: no fault of a broker, but it belongs beside every rate."""
    LOSE_ACKNOWLEDGEMENT = "lose_acknowledgement"
    """The acknowledgement of its first delivery does nothing and is answered with unknown. Hit: at the redelivery after
    its lease."""
    EARLY_REDELIVERY = "early_redelivery"
    """Delivered a second time while its first lease runs."""
    LATE_REDELIVERY = "late_redelivery"
    """Redelivered only four leases after its lease ended, unless it was released; later messages of its key wait as
    long. Hit: when it was withheld."""
    DUPLICATE_WHILE_HELD = "duplicate_while_held"
    """Delivered a second time by the next ``receive`` of its group, of any consumer, whether acknowledged by then or
    not."""
    WRONG_KEY = "wrong_key"
    """Delivered under another key."""
    WRONG_PLACE = "wrong_place"
    """Delivered with another place than it has."""
    WRONG_PLACE_TOLD = "wrong_place_told"
    """Its sender is told another place than it has."""
    SHARED_PLACE = "shared_place"
    """Told, delivered and replayed with the place before it on its partition, which another message has."""
    TIME_OFF = "time_off"
    """Delivered and replayed with a broker's time an hour too late."""
    TIME_BACK = "time_back"
    """Delivered and replayed with a broker's time five seconds before its own."""
    SETTLED_TWICE = "settled_twice"
    """Settled as acknowledged, and then once more, as unknown."""
    WRONG_COUNT = "wrong_count"
    """Its deliveries carry the count of the next delivery."""
    DEAD_LETTER_MISSING = "dead_letter_missing"
    """Withheld from the readers of a channel of dead letters. Dice and hit: its place there."""
    DEAD_LETTER_EXTRA = "dead_letter_extra"
    """Copied to the channel of dead letters although it was acknowledged."""
    DEAD_LETTER_ALTERED = "dead_letter_altered"
    """One byte anywhere in the payload is changed in the channel of dead letters. Dice and hit: its place there."""
    DEDUPLICATION_MISSED = "deduplication_missed"
    """Kept although a message with its ``dedup_id`` was sent shortly before. Dice: by that id."""
    DEDUPLICATION_WRONG = "deduplication_wrong"
    """Acknowledged as if it repeated the message before it, and not kept, nor are its repeats. Dice: by its id. Hit:
    the first."""
    EXPIRE_EARLY = "expire_early"
    """Gone after half of the age limit. Hit: when it was missing before its limit."""
    EXPIRE_LATE = "expire_late"
    """Kept for four times the age limit. Hit: when it was handed out after its limit."""
    UNREADABLE_EARLY = "unreadable_early"
    """Not given to readers after half of the age limit, although the bounds hold it. Hit: when a reader was refused
    it before its limit."""
    READABLE_LATE = "readable_late"
    """Given to readers for four times the age limit, although the bounds say that it is gone. Hit: when a reader got
    it after its limit."""
    NEWEST_REMOVED = "newest_removed"
    """Removed by a size limit in place of an old one, which readers get instead; the bounds say the contrary. Hit: the
    one, when a reader was refused it, and the other, when a reader got it."""
    REPLAY_GAP = "replay_gap"
    """Left out of replays."""
    REPLAY_REORDER = "replay_reorder"
    """Changes places with the next message of its key in replays. Hit: the one that comes too late."""
    REPLAY_STALE_POSITION = "replay_stale_position"
    """A reader goes back once, from the end of a ``read`` to this message. Hit: all messages that it reads twice."""
    REPLAY_ALTERED = "replay_altered"
    """One byte anywhere in the payload is changed in replays."""


@dataclass(frozen=True, slots=True)
class Fault:
    """``rate``: share of messages that are hit, 0 to 1. Another ``seed`` hits others.

    ``places``: where given, exactly the messages at these (partition, place) are hit, and ``rate`` is ignored.
    """

    name: FaultName
    rate: float
    seed: int = 0
    places: frozenset[tuple[int, int]] | None = None


@dataclass(frozen=True, slots=True)
class Offender:
    """A message that was hit; ``payload`` as it was sent (of a phantom: as it was made up)."""

    partition: int
    place: int
    payload: bytes
