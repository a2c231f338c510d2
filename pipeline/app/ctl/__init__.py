"""Command `ctl`."""
