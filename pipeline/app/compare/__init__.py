"""`streamdet compare`: several detectors → which one to take for a source."""
