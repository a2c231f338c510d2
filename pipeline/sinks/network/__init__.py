"""Network: rendered frames → H.264 to an address, sent by a process of its own."""
