"""Outcomes of the sends of one producer, as columns, until the producer returns them."""

from __future__ import annotations

import time
from collections.abc import Sequence

import numpy as np
from confluent_kafka import KafkaError

from brokerbench.brokers.kafka.client import outcome_of, reason
from brokerbench.brokers.kafka.client_protocols import MESSAGE, Messages
from brokerbench.brokers.types import MAX_ERRORS, NO_PARTITION, NO_PLACE, IntColumn, Outcome, Settlements, constant


class DeliveryReports:
    """A message's number is its ticket."""

    def __init__(self) -> None:
        # Reports that came together, and when. Columns are made of all at once: short batches have many reports.
        self._reported: list[Messages] = []
        self._reported_ns: list[int] = []

    def reported(self, messages: Messages) -> None:
        """Take reports of the client, with the time of now."""
        self._reported.append(messages)
        self._reported_ns.append(time.monotonic_ns())

    def refused(self, refusals: Sequence[tuple[int, int]]) -> None:
        """(ticket, error) of messages that the client did not take, and so will not report."""
        if refusals:
            messages = np.zeros(len(refusals), MESSAGE)
            messages["number"], messages["error"] = zip(*refusals, strict=True)
            self.reported(messages)

    def take(self) -> Settlements:
        """All reports since the last call."""
        if not self._reported:
            return Settlements.empty()
        messages = np.concatenate(self._reported) if len(self._reported) > 1 else self._reported[0]
        settled_ns = np.repeat(np.array(self._reported_ns, np.int64), list(map(len, self._reported)))
        # New lists, as the columns that were returned must not grow.
        self._reported, self._reported_ns = [], []
        return _settlements(messages, settled_ns)


def _settlements(messages: Messages, settled_ns: IntColumn) -> Settlements:
    errors, places = messages["error"], messages["offset"].copy()
    partitions, tickets = messages["partition"].copy(), messages["number"].astype(np.int64)
    outcomes, texts = constant(Outcome.ACKNOWLEDGED, len(messages), np.int8), dict[int, str]()
    if np.count_nonzero(errors):
        failed = np.flatnonzero(errors)
        partitions[failed] = NO_PARTITION
        places[failed] = NO_PLACE
        for code in np.unique(errors[failed]).tolist():
            outcomes[errors == code] = outcome_of(KafkaError(code))
        texts = {int(tickets[row]): reason(KafkaError(int(errors[row]))) for row in failed[:MAX_ERRORS]}
    # The broker names no offset when it acknowledges a retry of a message that it had stored already.
    places[places < 0] = NO_PLACE
    return Settlements(tickets, outcomes, settled_ns, partitions, places, texts)
