"""What benchmark.py measures: the plain way, ours, the machine, and how cost grows."""
