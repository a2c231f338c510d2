"""Soaking: the parts of `benchmarks.soak`: cameras that fail on request, faults, what is watched, and the table."""
