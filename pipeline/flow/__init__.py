"""Threads and no arrays: how items travel from sources through stages to sinks, and what that costs."""
