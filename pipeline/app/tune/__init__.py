"""`streamdet tune`: a configuration → the fastest one that finds the same."""
