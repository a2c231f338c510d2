"""Streaming object detection on video (the full drawing and the public names follow)."""

__version__ = "0.1.0"
