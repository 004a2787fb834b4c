"""Data: what is read, how it is split, and the features that are stored of it."""
