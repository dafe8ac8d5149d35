"""NATS JetStream for brokerbench."""
