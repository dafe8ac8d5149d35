"""From a history to figures: columns in, columns or numbers out."""
