"""Clients that drive a broker and record what they do."""
