"""Comparison of two builds: whether they are comparable, and where they differ."""
