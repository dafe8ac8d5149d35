"""The adapter that the entry point names. Imports no client library: listing profiles stays cheap."""

from brokerbench.brokers.registry import Adapter

ADAPTER = Adapter("nats-jetstream", "brokerbench_nats.broker:JetStream", "nats", "pip install nats-py")
