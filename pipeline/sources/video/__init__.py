"""Video: files, network streams and pipes → pictures with timestamps; the only sources that use PyAV."""

# Before av: both wheels bring libxcb, whichever is loaded first serves both, and with av's an OpenCV window hangs
# (https://github.com/PyAV-Org/PyAV/issues/1050). So every module of this folder imports av after OpenCV.
import cv2 as _  # noqa: F401
