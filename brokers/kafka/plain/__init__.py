"""Plain confluent-kafka behind the protocols of ``client_protocols``: an object and a call for each message."""
