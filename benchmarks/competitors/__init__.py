"""Other ways to detect in a video, each a module that does one job of `benchmarks.job`."""
