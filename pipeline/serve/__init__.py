"""Serve: a run → its live pictures, boxes and numbers in a browser, and the way to control it from there."""
