"""Load processes: what they send, when, and who controls them."""
