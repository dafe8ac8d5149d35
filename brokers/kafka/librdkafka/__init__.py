"""librdkafka by columns, through its C interface. Only ``brokers.kafka`` comes in here."""
