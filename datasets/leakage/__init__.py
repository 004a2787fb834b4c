"""Finding images that show the same thing, and splits that such images leak across."""

from datasets.leakage.clusters import NUM_WORKERS, Clusters, Level, find_clusters, find_groups

__all__ = ["NUM_WORKERS", "Clusters", "Level", "find_clusters", "find_groups"]
