"""A history indexed for checkers: columns, joins and bounds on times."""
