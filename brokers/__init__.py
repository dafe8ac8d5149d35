"""One synchronous, batched, columnar interface to message brokers.

Start at :mod:`brokerbench.brokers.protocols` (the powers of an adapter), :mod:`brokerbench.brokers.types` (the values
that pass through it) and :mod:`brokerbench.brokers.declarations` (its promises). ``registry.connect`` opens a broker.
"""
