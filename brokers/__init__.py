"""One synchronous, batched, columnar interface to message brokers.

Start at :mod:`brokerbench.brokers.protocols` (what an adapter does), :mod:`brokerbench.brokers.types` (the values that
pass through it) and :mod:`brokerbench.brokers.declarations` (what it promises). ``registry.connect`` opens one.
"""
