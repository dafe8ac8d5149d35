"""Running a plan: cells, their processes, their turns, their results."""
