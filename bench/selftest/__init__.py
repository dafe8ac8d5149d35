"""Are the checkers able to fail? Faults are seeded into the reference broker, and every checker says what it sees.

``story`` plays an experiment and records its history, ``checks`` judges it, ``cases`` says which checker must see which
fault, ``matrix`` compares, ``clean`` makes histories without faults, ``report`` puts it all in words.
"""
