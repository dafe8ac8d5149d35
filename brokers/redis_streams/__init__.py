"""Redis Streams: the profile ``redis-streams``."""
