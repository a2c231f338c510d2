"""Command `lineage`."""
