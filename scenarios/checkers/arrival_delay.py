"""Does an acknowledged message arrive while consumers ask for it, and how soon?

A message can be asked for from its acknowledgement on, once a consumer of the group is there. The time from then to its
first delivery is a sample; a message that never came is open, as its time is not known.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from brokerbench.brokers.types import Outcome
from brokerbench.scenarios.checkers.findings import combined, spread
from brokerbench.scenarios.checkers.index import channel_index
from brokerbench.scenarios.checkers.index.channel_index import ChannelIndex, Delivered
from brokerbench.scenarios.verdicts import Finding

NAME = "delivery.progress"


def progress(index: ChannelIndex, delivered: Delivered) -> Finding:
    """``delivery.progress``, in seconds, of a group whose consumers ask all the time. One sample a message."""
    required = index.sent.outcome == Outcome.ACKNOWLEDGED
    came = required & (delivered.first >= 0)
    received_ns = delivered.column("received_ns")[delivered.first[came]]
    waited_s = np.maximum(received_ns - channel_index.settled_ns(index)[came], 0) / 1e9
    missing = int((required & ~came).sum())
    return Finding(NAME, len(waited_s), samples=tuple(waited_s.tolist()), open=missing)


def over(parts: Sequence[Finding]) -> Finding:
    """One finding of several channels, with at most 100 samples of the same distribution."""
    whole = combined(NAME, parts)
    return replace(whole, samples=spread(whole.samples))
