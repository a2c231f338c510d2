"""Command `explain`."""
