"""Load processes on other hosts.

``load`` is the cell's ``Load``; dask ``distributed`` carries one ``keeper`` to each host; ``wires`` are the connections
back to the cell; ``host`` is the cell's side of one of them.
"""
