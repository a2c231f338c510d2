"""Clips: the packets of a source around its events → video files."""
