"""One file a question; each prints JSON lines. `make bench` runs them all."""
