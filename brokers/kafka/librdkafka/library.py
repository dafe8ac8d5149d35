"""The C library inside confluent-kafka, asked for a batch at a time.

confluent-kafka makes an object and a call for each message, some 2 us of a producer's 4 and 1 of a consumer's 2. The
library itself takes and gives whole arrays of ``rd_kafka_message_t``; NumPy writes and reads them (``foreign_memory``).
Names and layouts are those of its public header, rdkafka.h, which promises them to stay.

Handles are integers; nothing here frees one that is dropped.
"""

from __future__ import annotations

import ctypes
import logging
from collections.abc import Callable, Mapping
from ctypes import c_char_p, c_int, c_size_t, c_void_p
from functools import partial
from typing import Any

from confluent_kafka import KafkaError, KafkaException, cimpl

REPORT_EVENT, LOG_EVENT, ERROR_EVENT = 0x1, 0x4, 0x8
_CONF_OK = 0
_ERROR_BYTES = 512
_LEVELS = (logging.CRITICAL,) * 3 + (logging.ERROR, logging.WARNING, logging.INFO, logging.INFO, logging.DEBUG)
"""Python's level for each of syslog's, 0 to 7."""

# The module's own library, found through the module: a wheel brings one, and the system may have another version.
# ``_LIBRARY`` lets the GIL go, for calls that may take long; ``_QUICK`` keeps it, as letting it go takes longer.
_LIBRARY, _QUICK = ctypes.CDLL(cimpl.__file__), ctypes.PyDLL(cimpl.__file__)


def function(name: str, answer: Any, *arguments: Any, quick: bool = False) -> Any:
    """``rd_kafka_<name>``. Raises ImportError where the library has no such function."""
    try:
        found = getattr(_QUICK if quick else _LIBRARY, f"rd_kafka_{name}")
    except AttributeError:
        raise ImportError(f"librdkafka has no function rd_kafka_{name}") from None
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


def new_client(
    new: New, config: Mapping[str, Any], events: int, configure: Callable[[int], None] = lambda conf: None
) -> int:
    """A client with this configuration, to which ``configure`` adds. Raises KafkaException if it is refused."""
    conf, why = _conf_new(), ctypes.create_string_buffer(_ERROR_BYTES)
    for name, value in {**config, "log.queue": True}.items():
        plain = str(value).lower() if isinstance(value, bool) else str(value)
        if _conf_set(conf, name.encode(), plain.encode(), why, _ERROR_BYTES) != _CONF_OK:
            _conf_destroy(conf)
            raise KafkaException(KafkaError(KafkaError._INVALID_ARG, text(why.value)))
    _conf_set_events(conf, events)
    configure(conf)
    handle = new(conf, why, _ERROR_BYTES)
    if handle is None:
        _conf_destroy(conf)
        raise KafkaException(KafkaError(_last_error(), text(why.value)))
    return handle


def error_from(error: int | None) -> KafkaError | None:
    """The error in an ``rd_kafka_error_t``, which this frees; None for a null pointer."""
    if error is None:
        return None
    try:
        return KafkaError(_error_code(error), text(_error_string(error)), bool(_error_is_fatal(error)))
    finally:
        _error_destroy(error)


def require_none(error: int | None) -> None:
    """Raises KafkaException for an ``rd_kafka_error_t``."""
    found = error_from(error)
    if found is not None:
        raise KafkaException(found)


def require(code: int) -> None:
    """Raises KafkaException for an error code other than 0."""
    if code:
        raise KafkaException(KafkaError(code))


class ClientLog:
    """Log lines and errors of a client, which arrive as events of ``queue``; without it they go to stderr."""

    def __init__(self, handle: int, queue: int, logger: logging.Logger) -> None:
        self._logger, self._client = logger, handle
        _set_log_queue(handle, queue)

    def hand_over(self, event: int) -> None:
        """Pass a log event to the logger. The caller destroys the event."""
        facility, line, level = c_char_p(), c_char_p(), c_int()
        if _event_log(event, ctypes.byref(facility), ctypes.byref(line), ctypes.byref(level)) == 0:
            log_line(self._logger, self._client, level.value, facility.value, line.value)

    def error(self, why: str) -> None:
        """Log an error of the client as a whole; outcomes of messages are reported apart."""
        self._logger.warning("[%s] %s", text(_name(self._client)), why)


def log_line(logger: logging.Logger, handle: int, level: int, facility: bytes | None, line: bytes | None) -> None:
    """``handle``: the client's; ``level``: syslog's, 0 to 7."""
    logger.log(_LEVELS[level], "%s [%s] %s", text(facility), text(_name(handle)), text(line))


def text(raw: bytes | None) -> str:
    return (raw or b"").decode(errors="replace")
