"""The cluster as it is: events, incremental state and frozen snapshots."""
