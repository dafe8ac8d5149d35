"""The interface of the clients that move messages. The adapters know no more of a client than this."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Mapping, Sequence
from ctypes import c_int, c_int32, c_int64, c_size_t, c_void_p
from typing import Any, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt
from confluent_kafka import KafkaError

from brokerbench.brokers.types import IntColumn, Received, SmallIntColumn


class _Message(ctypes.Structure):
    """``rd_kafka_message_t`` of librdkafka's public header, rdkafka.h."""

    _fields_ = (
        ("error", c_int),
        ("topic", c_void_p),
        ("partition", c_int32),
        ("payload", c_void_p),
        ("size", c_size_t),
        ("key", c_void_p),
        ("key_size", c_size_t),
        ("offset", c_int64),
        ("number", c_void_p),
    )


MESSAGE = np.dtype(_Message)
"""error, topic, partition, payload, size, key, key_size, offset, number (the caller's, of a message sent).

A delivery report has this layout, too: its number, error, partition and offset.
"""
Messages = npt.NDArray[np.void]

ACCEPT, RELEASE, REJECT = 1, 2, 3
"""Types of acknowledgement in a share group."""

OnRevoked = Callable[[Sequence[int]], None]
"""(partitions that the group takes away)."""
OnAcknowledged = Callable[[int, IntColumn, KafkaError | None], None]
"""(partition, offsets, None where the broker took their acknowledgement)."""


class ProducerClient(Protocol):
    """Sends to one topic. The caller numbers its messages; the report of a message has its number.

    Not for use by two threads at once.
    """

    def produce(self, payloads: Sequence[bytes], keys: Sequence[bytes] | None, numbers: IntColumn) -> SmallIntColumn:
        """The error code of each message, 0 for one that was taken. A message that was not taken has no report.

        A full queue refuses all messages behind the first that it has no room for: sending them again keeps the order.
        """

    def produce_with_headers(self, payload: bytes, key: bytes | None, headers: Mapping[str, str], number: int) -> int:
        """The error code, as of ``produce``, which cannot carry headers."""

    def reports(self, wait_s: float) -> Messages:
        """Reports that are there, as soon as there is one; none after ``wait_s``."""

    def hurry(self) -> None:
        """Send now the messages that wait for more to be sent with them."""

    def purge(self) -> None:
        """Give up the messages that are not settled: reports say so."""

    def close(self) -> None:
        """A message that is not settled then is never reported."""


class ConsumerClient(Protocol):
    """Receives from one topic. Another thread may call ``commit`` beside any call, and ``close`` beside ``commit``."""

    def subscribe(self) -> None:
        """Join the group."""

    def assign(self, offsets: Mapping[int, int]) -> None:
        """Read from {partition: offset}, as a member of no group."""

    def receive(self, most: int, wait_s: float, details: bool) -> tuple[Received, list[KafkaError]]:
        """At most ``most`` messages, as soon as there is a message or an error; none after ``wait_s``.

        The handle of ``Received`` is an empty dictionary. Without ``details`` keys, attributes and times are left out.
        """

    def seek(self, partition: int, offset: int) -> None:
        """Go on with this offset; messages that were fetched and not received are forgotten. Asks no broker."""

    def commit(self, offsets: Mapping[int, int]) -> dict[int, KafkaError | None]:
        """{partition: the broker's answer}. Waits for it without end."""

    def close(self) -> None:
        """Leave the group. Waits without end for a broker that does not answer. Idempotent."""


class Poll(Protocol):
    """The messages of one poll. ``free`` comes before the client's ``close``."""

    seen: bool
    """Whether it was filled, or freed."""
    open: npt.NDArray[np.bool_]
    """For each message: is it still to be acknowledged?"""
    errors: list[KafkaError]
    """Errors that came among the messages."""

    def __len__(self) -> int: ...

    def columns(self, rows: slice, received_ns: int, details: bool) -> Received:
        """Copies, whose handle is a ``Part``. ``details`` must be the same each time."""

    def free(self) -> None:
        """Idempotent."""


class Part(NamedTuple):
    """The rows of a poll from ``first`` on."""

    poll: Poll
    first: int


class ShareClient(Protocol):
    """A member of a share group, which acknowledges explicitly. Not for use by two threads at once."""

    def new_poll(self) -> Any:
        """An empty ``Poll`` of the kind that this client fills."""

    def listen(self, heard: OnAcknowledged) -> None:
        """From now on ``heard`` is called from within any call, with the broker's answers to acknowledgements."""

    def poll(self, poll: Any, wait_s: float) -> None:
        """Fill ``poll`` with the messages that the broker has handed out, as soon as there is one.

        Left as it is after ``wait_s``. Refused until all messages of the poll before are acknowledged.
        """

    def acknowledge(self, poll: Any, rows: slice | IntColumn, how: int) -> SmallIntColumn:
        """Tell the client, not yet the broker. The error code of each message, 0 for one that it took."""

    def commit_async(self) -> None:
        """Tell the broker; with nothing to tell it only looks for answers."""

    def commit_sync(self, timeout_s: float) -> dict[int, KafkaError | None]:
        """Tell the broker. {partition: its answer}."""

    def raise_failure(self) -> None:
        """Raise an error of a callback that no call has raised yet."""

    def close(self) -> None:
        """Leave the group. Idempotent."""
