"""PIL images: an image of Pillow → its pixels, upright, in 8-bit BGR, as they would be read from its file.

Pillow is never imported first: whoever has an image of it, has imported it.
"""

from __future__ import annotations

import sys
from typing import Any

import numpy as np

from pipeline.errors import SourceError
from pipeline.picture.frame import PixelArray


def is_pil_image(value: object) -> bool:
    """Whether it is an image of Pillow."""
    module = sys.modules.get("PIL.Image")
    return module is not None and isinstance(value, module.Image)


def file_of(value: object) -> str | None:
    """The file that Pillow has an image from; None where it has none, and for what is not of Pillow."""
    name = getattr(value, "filename", None) if is_pil_image(value) else None
    return str(name) if name and not isinstance(name, bytes) else None


def pixels_of(image: Any, number: int) -> PixelArray:
    """uint8 [H, W, 3] BGR, turned as EXIF says; transparency is left out, and of 16 bits the upper 8 are taken.

    number: what an error calls it. Raises SourceError for an image that cannot be decoded, and one of numbers that
    have no range (modes I and F).
    """
    from PIL import ImageOps

    if not image.width or not image.height:
        raise SourceError(f"picture {number} must have at least one pixel, got an image of PIL of {image.size}")
    if image.mode in ("I", "F"):
        raise SourceError(
            f"picture {number} must have 8 or 16 bits a channel, got an image of PIL in mode {image.mode}, whose "
            "values have no range; scale them to 0..255 and convert to mode L"
        )
    try:
        upright = ImageOps.exif_transpose(image)
        if upright.mode.startswith("I;16"):
            grey = np.asarray(upright) >> 8  # [H, W]
            return np.repeat(grey.astype(np.uint8)[:, :, None], 3, axis=2)
        rgb = np.asarray(upright.convert("RGB"))  # [H, W, 3]
    except (OSError, ValueError, SyntaxError) as error:  # Pillow reads a file's pixels as late as this
        raise SourceError(f"picture {number}: Pillow cannot decode it: {error}") from error
    return np.ascontiguousarray(rgb[:, :, ::-1])
