"""Pure functions from a history to findings: NumPy over columns, no I/O, no adapter, no clock. One question a file."""
