"""A ``ProducerClient`` on confluent-kafka's ``Producer``."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
from confluent_kafka import KafkaError, KafkaException, Message, Producer

from brokerbench.brokers.kafka.client_protocols import MESSAGE, Messages
from brokerbench.brokers.types import NO_PARTITION, NO_PLACE, IntColumn, SmallIntColumn

_WAKE_S = 0.001


class PlainProducer:
    """Each message has a callback of its own: failures are not reported in the order of sending."""

    def __init__(self, config: Mapping[str, Any], topic: str, logger: logging.Logger) -> None:
        self._topic, self._logger = topic, logger
        self._client = Producer({**config, "logger": logger, "error_cb": self._client_failed})
        # (number, error, partition, offset) of each report that was not taken yet.
        self._reported: list[tuple[int, int, int, int]] = []

    def produce(self, payloads: Sequence[bytes], keys: Sequence[bytes] | None, numbers: IntColumn) -> SmallIntColumn:
        callbacks = [partial(self._report, number) for number in numbers.tolist()]
        messages: list[dict[str, Any]]
        if keys is None:
            messages = [{"value": each, "callback": call} for each, call in zip(payloads, callbacks, strict=True)]
        else:
            messages = [
                {"value": each, "key": key, "callback": call}
                for each, key, call in zip(payloads, keys, callbacks, strict=True)
            ]
        errors = np.zeros(len(messages), np.int32)
        if self._client.produce_batch(self._topic, messages) < len(messages):
            # Messages that are refused are marked in place, at any index.
            for at, message in enumerate(messages):
                if (error := message.get("_error")) is not None:
                    errors[at] = error.code()
        return errors

    def produce_with_headers(self, payload: bytes, key: bytes | None, headers: Mapping[str, str], number: int) -> int:
        # ``produce_batch`` drops headers in silence.
        try:
            self._client.produce(
                self._topic, value=payload, key=key, headers=dict(headers), on_delivery=partial(self._report, number)
            )
        except BufferError:
            return int(KafkaError._QUEUE_FULL)
        except KafkaException as failure:
            return int(failure.args[0].code())
        return 0

    def reports(self, wait_s: float) -> Messages:
        self._client.poll(0 if self._reported else wait_s)
        reported, self._reported = self._reported, []
        messages = np.zeros(len(reported), MESSAGE)
        if reported:
            columns = np.array(reported, np.int64).T
            for name, column in zip(("number", "error", "partition", "offset"), columns, strict=True):
                messages[name] = column
        return messages

    def hurry(self) -> None:
        self._client.flush(_WAKE_S)

    def purge(self) -> None:
        self._client.purge(in_queue=True, in_flight=True)

    def close(self) -> None:
        self._client.close()

    def _report(self, number: int, error: KafkaError | None, message: Message) -> None:
        if error is not None:
            self._reported.append((number, error.code(), NO_PARTITION, NO_PLACE))
            return
        offset = message.offset()
        self._reported.append((number, 0, message.partition() or 0, NO_PLACE if offset is None else offset))

    def _client_failed(self, error: KafkaError) -> None:
        self._logger.warning("%s", error.str())
