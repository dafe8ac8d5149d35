"""What the project finds by the entry point. Imports no client library: listing profiles stays cheap."""

from brokerbench.brokers.registry import Adapter

ADAPTER = Adapter("nats-jetstream", "brokerbench_nats.broker:JetStream", "nats", "pip install nats-py")
