"""From the history of one experiment to its findings and metrics: a module for each experiment."""
