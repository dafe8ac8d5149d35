"""A history in order: the columns, joins and bounds that checkers read."""
