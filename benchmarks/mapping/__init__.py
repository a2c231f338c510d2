"""Mapping: what `benchmarks.scale` does to `streamdet map`: its videos, its faults, its simulated workers."""
