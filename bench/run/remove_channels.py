"""Removes the channels that a run left on a broker elsewhere.

``python -m brokerbench.bench.run.remove_channels BROKER PREFIX``.
The guard runs this when a run on external engines ends, however it ends. Addresses and credentials come from the
environment, as they did for the run: nothing secret is written down. Only channels with the prefix are touched.
"""

from __future__ import annotations

import sys
import time
from contextlib import closing

from brokerbench.bench.engines import catalogue, external
from brokerbench.bench.errors import BenchError
from brokerbench.brokers import registry
from brokerbench.brokers.errors import BrokerError

_PATIENCE_S = 10.0


def remove(broker: str, prefix: str) -> None:
    """Delete every channel that begins with ``prefix``. Raises BenchError, BrokerError."""
    endpoint = external.connect(catalogue.ENGINES[broker]).endpoint
    deadline = time.monotonic() + _PATIENCE_S
    while True:
        try:
            for profile in registry.profiles():
                if registry.adapter(profile).broker == broker:
                    with closing(registry.connect(profile, endpoint)) as connection:
                        dead_letters = connection.declaration().limits.dead_letter_prefix
                        for begin in dict.fromkeys((prefix, f"{dead_letters}{prefix}")):
                            for name in connection.list_channels(begin):
                                connection.delete_channel(name)
            return
        except BrokerError:
            # Perhaps busy for a moment (a coordinator that loads): try again with the channels that are left.
            if time.monotonic() > deadline:
                raise
            time.sleep(0.5)


if __name__ == "__main__":
    try:
        remove(*sys.argv[1:])
    except (BenchError, BrokerError) as problem:
        sys.exit(f"brokerbench: channels named {sys.argv[2]}* on {sys.argv[1]} may still be there: {problem}")
