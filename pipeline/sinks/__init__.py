"""Where results go: a recording, JSON lines, a window."""
