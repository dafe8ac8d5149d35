"""The alternatives of a user: plain loops over the same client libraries, each in its own process.

They stamp, record and verify nothing. A loop warms up first, then counts, and prints one line of JSON:
``messages``, ``seconds`` from the first counted send or receive to the last answer, ``cpu_s`` of the process over them.
"""
