"""Fuzzing: what strangers may write → what our readers make of it; see `benchmarks.fuzz`."""
