"""Apache Kafka: the profiles ``kafka`` (consumer group) and ``kafka-share`` (share group)."""
