"""Pixel limit: the most pixels that an image file may have, because a megabyte of PNG can hold gigabytes of them."""

from __future__ import annotations

import os

MOST_PIXELS = 178_956_970  # beyond it Pillow takes an image for an attack as well
VARIABLE = "OPENCV_IO_MAX_IMAGE_PIXELS"


def limit_pixels() -> None:
    """Set it for OpenCV, unless the user has. Must come before OpenCV is imported, which looks only then."""
    os.environ.setdefault(VARIABLE, str(MOST_PIXELS))
