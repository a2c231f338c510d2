"""Measurements: a run → how fast, how late, at what cost, and what limits it."""
