"""Can all of a still picture be decoded?"""

from __future__ import annotations

import av
import av.error


def is_broken_jpeg(content: bytes) -> bool:
    """Whether these bytes are a JPEG with errors in it, which OpenCV would fill with grey and tell nobody."""
    if not content.startswith(b"\xff\xd8"):
        return False
    decoder = av.CodecContext.create("mjpeg", "r")
    decoder.options = {"err_detect": "explode"}
    try:
        decoder.decode(av.Packet(content))
    except av.error.InvalidDataError:
        return True
    except av.error.FFmpegError:
        pass  # a kind of JPEG that libav does not know; that says nothing about this one
    return False
