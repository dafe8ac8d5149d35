"""Experiments, what they record, and how the record is judged. Knows the interface, never an adapter."""
