"""`streamdet optimise`: a detector and a video → the fastest file and device for this machine that detect the same."""
