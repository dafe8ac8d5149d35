"""Removes the channels that a run left on a broker elsewhere: ``python -m bench.remote BROKER PREFIX``.

The guard runs this when a run on external engines ends, however it ends. Addresses and credentials come from the
environment, as they did for the run: nothing secret is written down. Nothing is touched but channels with the prefix.
"""

from __future__ import annotations

import sys

from bench.engines import catalogue, external
from bench.errors import BenchError
from brokers import registry
from brokers.errors import BrokerError


def remove(broker: str, prefix: str) -> list[str]:
    """Delete every channel that begins with ``prefix``; returns their names. Raises BenchError, BrokerError."""
    endpoint = external.connect(catalogue.ENGINES[broker]).endpoint
    removed = []
    for profile in registry.profiles():
        if registry.adapter(profile).broker != broker:
            continue
        connection = registry.connect(profile, endpoint)
        try:
            for name in connection.list_channels(prefix):
                connection.delete_channel(name)
                removed.append(name)
        finally:
            connection.close()
    return removed


if __name__ == "__main__":
    try:
        remove(*sys.argv[1:])
    except (BenchError, BrokerError) as problem:
        sys.exit(f"brokerbench: channels named {sys.argv[2]}* on {sys.argv[1]} may still be there: {problem}")
