"""Load processes: ``processes`` starts them here, ``hosts`` on other hosts; both implement the cell's ``Load``.

dask ``distributed`` carries one ``keeper`` to each host; ``wires`` are the connections back to the cell; ``host`` is
the cell's side of one of them.
"""
