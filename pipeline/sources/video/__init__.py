"""Video: files, network streams and pipes → pictures with timestamps; the only sources that use PyAV."""

# Before av: both wheels bring libxcb, whichever is loaded first serves both, and with av's an OpenCV window hangs
# (PyAV issue 1050). Every module of this folder that imports av is therefore imported after OpenCV.
import cv2 as _  # noqa: F401
