"""Judges a history that does not fit in memory, shard by shard."""
