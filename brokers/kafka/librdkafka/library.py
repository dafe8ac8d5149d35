"""librdkafka by columns: the C library inside confluent-kafka, asked for a batch at a time.

confluent-kafka makes an object and a call for each message, some 2 us of a producer's 4 and 1 of a consumer's 2. The
library itself takes and gives whole arrays of ``rd_kafka_message_t``; NumPy writes and reads them. Names and layouts
are those of its public header, rdkafka.h, which promises them to stay.

Handles are integers; nothing here frees one that is dropped.
"""

from __future__ import annotations

import ctypes
import logging
from collections.abc import Callable, Mapping, Sequence
from ctypes import c_char_p, c_int, c_int32, c_int64, c_size_t, c_void_p
from functools import lru_cache, partial
from typing import Any

import numpy as np
import numpy.typing as npt
from confluent_kafka import KafkaError, KafkaException, cimpl

from brokerbench.brokers.rows import Rows

REPORT_EVENT, LOG_EVENT, ERROR_EVENT = 0x1, 0x4, 0x8
_CONF_OK = 0
_ERROR_BYTES = 512
_LEVELS = (logging.CRITICAL,) * 3 + (logging.ERROR, logging.WARNING, logging.INFO, logging.INFO, logging.DEBUG)
"""Of syslog's."""
_ADDRESS_BITS = 48
_LONGEST_BYTES = 1 << (62 - _ADDRESS_BITS)
"""Of pieces that NumPy copies together, as it counts an array's bytes in 63 bits."""

_FEW = 20
"""Messages of one size from which on it is worth while to copy them together."""

# Not by the library's name: a wheel has its own, and another version may be installed. What the module links is found.
# Without the GIL for what may take long, with it for what takes less than to let it go.
_LIBRARY, _QUICK = ctypes.CDLL(cimpl.__file__), ctypes.PyDLL(cimpl.__file__)


class _Message(ctypes.Structure):
    """``rd_kafka_message_t``."""

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
"""error, topic, partition, payload, size, key, key_size, offset, number (the caller's, of a message sent)."""
Messages = npt.NDArray[np.void]
Addresses = npt.NDArray[np.uint64]


def function(name: str, answer: Any, *arguments: Any, quick: bool = False) -> Any:
    """``rd_kafka_<name>``."""
    found = getattr(_QUICK if quick else _LIBRARY, f"rd_kafka_{name}")
    found.restype, found.argtypes = answer, arguments
    return found


_conf_new = function("conf_new", c_void_p)
_conf_set = function("conf_set", c_int, c_void_p, c_char_p, c_char_p, c_char_p, c_size_t)
_conf_set_events = function("conf_set_events", None, c_void_p, c_int)
_conf_destroy = function("conf_destroy", None, c_void_p)
_new = function("new", c_void_p, c_int, c_void_p, c_char_p, c_size_t)
_event_log = function("event_log", c_int, c_void_p, c_void_p, c_void_p, c_void_p)
_last_error = function("last_error", c_int)
_name = function("name", c_char_p, c_void_p)
_set_log_queue = function("set_log_queue", c_int, c_void_p, c_void_p)
_error_code = function("error_code", c_int, c_void_p, quick=True)
_error_string = function("error_string", c_char_p, c_void_p, quick=True)
_error_is_fatal = function("error_is_fatal", c_int, c_void_p, quick=True)
_error_destroy = function("error_destroy", None, c_void_p, quick=True)
destroy = function("destroy", None, c_void_p)
queue_new = function("queue_new", c_void_p, c_void_p)
queue_poll = function("queue_poll", c_void_p, c_void_p, c_int)
queue_destroy = function("queue_destroy", None, c_void_p)
new_producer, new_consumer = partial(_new, 0), partial(_new, 1)
event_destroy = function("event_destroy", None, c_void_p, quick=True)


New = Callable[[int, Any, int], int | None]
"""(configuration, room for the reason of a failure, bytes of that) -> handle."""


def client(new: New, config: Mapping[str, Any], events: int, also: Callable[[int], None] = lambda conf: None) -> int:
    """A client with this configuration, to which ``also`` may add. Raises KafkaException if the library refuses it."""
    conf, why = _conf_new(), ctypes.create_string_buffer(_ERROR_BYTES)
    for name, value in {**config, "log.queue": True}.items():
        plain = str(value).lower() if isinstance(value, bool) else str(value)
        if _conf_set(conf, name.encode(), plain.encode(), why, _ERROR_BYTES) != _CONF_OK:
            _conf_destroy(conf)
            raise KafkaException(KafkaError(KafkaError._INVALID_ARG, text(why.value)))
    _conf_set_events(conf, events)
    also(conf)
    handle = new(conf, why, _ERROR_BYTES)
    if handle is None:
        _conf_destroy(conf)
        raise KafkaException(KafkaError(_last_error(), text(why.value)))
    return handle


def error_of(error: int | None) -> KafkaError | None:
    """What an ``rd_kafka_error_t`` says, which is freed; None for none."""
    if error is None:
        return None
    try:
        return KafkaError(_error_code(error), text(_error_string(error)), bool(_error_is_fatal(error)))
    finally:
        _error_destroy(error)


def require_none(error: int | None) -> None:
    """Raises KafkaException for an ``rd_kafka_error_t``."""
    found = error_of(error)
    if found is not None:
        raise KafkaException(found)


def require(code: int) -> None:
    """Raises KafkaException for an error by its number alone."""
    if code:
        raise KafkaException(KafkaError(code))


class Log:
    """What a client has to say, which it writes to stderr otherwise: events of ``queue``."""

    def __init__(self, handle: int, queue: int, logger: logging.Logger) -> None:
        self._logger, self._client = logger, handle
        _set_log_queue(handle, queue)

    def hand_over(self, event: int) -> None:
        """To the logger; the event is still to be destroyed."""
        facility, line, level = c_char_p(), c_char_p(), c_int()
        if _event_log(event, ctypes.byref(facility), ctypes.byref(line), ctypes.byref(level)) == 0:
            log_line(self._logger, self._client, level.value, facility.value, line.value)

    def error(self, why: str) -> None:
        """Of the client as a whole; the fates of messages come by themselves."""
        self._logger.warning("[%s] %s", text(_name(self._client)), why)


def log_line(logger: logging.Logger, handle: int, level: int, facility: bytes | None, line: bytes | None) -> None:
    """``handle``: of the client that says it; ``level``: syslog's."""
    logger.log(_LEVELS[level], "%s [%s] %s", text(facility), text(_name(handle)), text(line))


def text(raw: bytes | None) -> str:
    return (raw or b"").decode(errors="replace")


def address(array: npt.NDArray[np.number[Any]]) -> int:
    """Where it lies. A third of what ``array.ctypes.data`` takes (but ten times that for an array of records)."""
    place: int = array.__array_interface__["data"][0]
    return place


class Room:
    """Memory for messages that are handed to the library, used again and again."""

    def __init__(self) -> None:
        self._messages: Messages = np.zeros(0, MESSAGE)
        self.address = 0

    def of(self, count: int) -> Messages:
        """So many; what they hold is what they held."""
        if len(self._messages) < count:
            self._messages = np.zeros(count, MESSAGE)
            self.address = int(self._messages.ctypes.data)
        return self._messages[:count]


def joined(parts: Sequence[bytes]) -> tuple[npt.NDArray[np.uint8], Addresses, Addresses | int]:
    """All of them in one piece of memory, which lives as long as it; where each begins there; and their sizes."""
    if isinstance(parts, Rows):
        whole = np.ascontiguousarray(parts.matrix)
        count, size = whole.shape
        return whole, _steps(count, size) + np.uint64(address(whole)), size
    sizes = np.fromiter(map(len, parts), np.uint64, len(parts))
    whole = np.frombuffer(b"".join(parts) or b"\0", np.uint8)
    ends = sizes.cumsum()
    ends += np.uint64(address(whole))
    ends -= sizes
    return whole, ends, sizes


@lru_cache(maxsize=64)
def _steps(count: int, size: int) -> Addresses:
    return np.arange(0, count * size, size, dtype=np.uint64)


def messages_at(addresses: Addresses) -> Messages:
    """A copy of the messages at these places, as columns."""
    return _copies(addresses, MESSAGE.itemsize).view(MESSAGE)


def bytes_at(addresses: Addresses, sizes: Addresses) -> Sequence[bytes]:
    """A copy of what lies there, ``sizes`` bytes each."""
    if not len(sizes):
        return []
    size = int(sizes[0])
    if 0 < size <= _LONGEST_BYTES and np.count_nonzero(sizes == size) == len(sizes):
        return Rows(_copies(addresses, size).view(np.uint8).reshape(-1, size))
    found = np.unique(sizes)
    if len(found) * _FEW > len(sizes) or int(found[-1]) > _LONGEST_BYTES:
        return list(map(ctypes.string_at, addresses.tolist(), sizes.tolist()))
    pieces = np.full(len(sizes), b"", object)
    for size in found[found > 0].tolist():
        rows = np.flatnonzero(sizes == size)
        pieces[rows] = _copies(addresses[rows], size).tolist()
    copies: list[bytes] = pieces.tolist()
    return copies


def _copies(addresses: Addresses, size: int) -> npt.NDArray[np.void]:
    """``size`` bytes from each of these addresses: one call of NumPy for all."""
    copies: npt.NDArray[np.void] = _memory(size)[addresses.view(np.int64) - 1]
    return copies


class _AllMemory:
    """The memory of this process, as all items of ``size`` bytes that begin at any address but 0."""

    def __init__(self, size: int) -> None:
        self.__array_interface__ = {
            "version": 3,
            "data": (1, True),
            "shape": ((1 << _ADDRESS_BITS) - 1,),
            "strides": (1,),
            "typestr": f"|V{size}",
        }


@lru_cache(maxsize=64)
def _memory(size: int) -> npt.NDArray[np.void]:
    return np.asarray(_AllMemory(size))
