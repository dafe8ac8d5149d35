"""Two builds against each other: what may be compared, and what differs."""
