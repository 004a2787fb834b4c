"""The training loop, its hooks, and the run folders that it fills."""
