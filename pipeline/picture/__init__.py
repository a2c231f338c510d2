"""Arrays and no threads: what a frame, a detection and a letterbox are, and what can be done with them."""
