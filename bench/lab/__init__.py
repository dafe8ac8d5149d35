"""Tools for developing the harness itself. Not part of the installed package."""
