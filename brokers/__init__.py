"""One synchronous, batched, columnar interface to message brokers.

Start at :mod:`brokers.protocols` (what an adapter does), :mod:`brokers.types` (the values that
pass through it) and :mod:`brokers.declarations` (what it promises). ``registry.connect`` opens one.
"""
