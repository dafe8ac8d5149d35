"""What a user would use instead: plain loops over the same client libraries, each a process of its own.

They stamp, record and verify nothing. A loop warms up first, then counts, and prints one line of JSON:
``messages``, ``seconds`` from the first counted send or receive to the last answer, ``cpu_s`` of the process over them.
"""
