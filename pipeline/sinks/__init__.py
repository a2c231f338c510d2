"""Sinks: results → a recording, JSON lines, a window."""

# Before av: both wheels bring libxcb, whichever is loaded first serves both, and with av's an OpenCV window hangs
# (https://github.com/PyAV-Org/PyAV/issues/1050). So modules of this folder import av after OpenCV.
import cv2 as _  # noqa: F401
