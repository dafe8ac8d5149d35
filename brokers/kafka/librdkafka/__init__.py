"""librdkafka by columns, through its C interface. Only ``brokers.kafka`` imports it."""
