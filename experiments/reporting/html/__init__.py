"""The report of runs as one HTML page, with its tables as files."""
