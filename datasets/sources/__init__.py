"""One module a published data set, read in the layout in which it is published."""
