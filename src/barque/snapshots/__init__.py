"""Snapshotters: the versioned file systems under containers."""
