"""Whole-slide images: opened, searched for tissue, compared with polygons, cut into tiles."""
