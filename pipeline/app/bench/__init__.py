"""`streamdet bench`: a configuration → what it does in a second, and what limits it."""
