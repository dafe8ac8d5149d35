"""Whether columns through librdkafka are possible here. Imports nothing of the library before it is asked."""

from __future__ import annotations

import ctypes
import logging
import sys
from functools import cache

import confluent_kafka
import numpy as np
from confluent_kafka import KafkaError

_MAJOR = 2
"""The version of librdkafka whose public header this package follows; it promises its layouts within one."""
SHARE_VERSION = 0x021000FF
"""The version of librdkafka, 2.16.0, whose ``rd_kafka_messages_t`` has the pointers behind the count (a test looks).

No header promises this. To ask for each message instead makes a share consumer slower than plain confluent-kafka is.
"""
_SILENT = logging.Logger("librdkafka probe", logging.CRITICAL + 1)
_WAIT_S = 5.0


@cache
def supported() -> tuple[bool, str]:
    """Whether, and in words the library that answers or the reason why not. Takes some milliseconds, once."""
    name, number = confluent_kafka.libversion()
    library = f"librdkafka {name} in confluent-kafka {confluent_kafka.version()}"
    if sys.platform == "win32":
        return False, f"{library}: on Windows its functions are not found through the extension module"
    if ctypes.sizeof(ctypes.c_void_p) != 8:
        return False, f"{library}: columns need a machine of 64 bits"
    if number >> 24 != _MAJOR:
        return False, f"{library}: columns follow the header of librdkafka {_MAJOR}"
    try:
        obstacle = _check(number)
    except (ImportError, OSError, ValueError, confluent_kafka.KafkaException) as problem:
        obstacle = str(problem)
    return not obstacle, f"{library}: {obstacle}" if obstacle else library


def share_supported() -> tuple[bool, str]:
    """The same for the consumer of a share group, which reads a private structure of one version."""
    possible, reason = supported()
    if possible and confluent_kafka.libversion()[1] != SHARE_VERSION:
        return False, f"{reason}: the messages of a share group's poll can be found in librdkafka 2.16.0 alone"
    return possible, reason


def _check(number: int) -> str:
    """Send a message to nowhere and read its report; found in memory as it was sent, or the reason why not."""
    from brokerbench.brokers.kafka.librdkafka import consumer, library, producer, share_consumer  # noqa: F401

    if library.function("version", ctypes.c_int)() != number:
        return "the functions found belong to another librdkafka than the extension module's"
    sender = producer.ColumnProducer({}, "probe", _SILENT)
    try:
        refused = sender.produce([b"probe"], [b"key"], np.array([_NUMBER], np.int64))
        sender.purge()
        reports = sender.reports(_WAIT_S)
        found = [refused.tolist(), reports["number"].tolist(), reports["error"].tolist(), reports["size"].tolist()]
        expected = [[0], [_NUMBER], [KafkaError._PURGE_QUEUE], [len(b"probe")]]
        return "" if found == expected else f"its report of a message has another layout: {found} for {expected}"
    finally:
        sender.close()


_NUMBER = 2**40 + 1
"""A number of more than 32 bits, which a wrong layout would cut or move."""
