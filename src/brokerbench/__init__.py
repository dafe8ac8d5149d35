"""Measure what message brokers really do, and write the decision record from the evidence.

The four layers are the directories at the top of the repository, linked here so that all of it is one package:
``brokers <- scenarios <- reports <- bench``.
"""
