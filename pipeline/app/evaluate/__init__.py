"""`streamdet eval`: a detector and labelled images → its accuracy."""
