"""Numbers that have a place: no file, no network."""
