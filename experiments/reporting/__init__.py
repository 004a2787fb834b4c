"""Tables and figures from run folders alone; no torch."""
