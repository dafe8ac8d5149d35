"""Can the checkers fail? Faults are seeded into the reference broker, and every checker judges the histories.

``scripts`` are experiments, ``simulation`` plays and records them, ``checks`` judges their histories, ``cases`` says
which checker must see which fault, ``matrix`` compares, ``random_histories`` have no faults, ``page`` writes it down.
"""
