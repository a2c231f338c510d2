"""Still pictures by libav: a JPEG → whether all of it can be decoded; a HEIC, which OpenCV cannot read → pixels."""

from __future__ import annotations

import io

import av
import av.error
import numpy as np
from av.video.frame import VideoFrame

from pipeline.picture.frame import PixelArray
from pipeline.sources.heif import HeifPicture
from pipeline.sources.video.orientation import UPRIGHT
from pipeline.sources.video.picture import VideoPicture

_UNTAGGED, _BT601 = 2, 6  # AVColorSpace; HEIF's default


def is_broken_jpeg(content: bytes) -> bool:
    """Whether these bytes are a JPEG with errors in it, which OpenCV would silently fill with grey."""
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


def heif_pixels(content: bytes, picture: HeifPicture) -> PixelArray:
    """uint8 [H, W, 3] BGR, its tiles put together, neither turned nor cropped. Raises ValueError with the reason."""
    if picture.kind not in ("hvc1", "av01", "avc1", "grid"):
        raise ValueError(f"its picture is of a kind that cannot be read ({picture.kind})")
    frames: dict[int, VideoFrame] = {}
    try:
        with av.open(io.BytesIO(content), "r") as container:
            streams = [stream for stream in container.streams.video if stream.id in picture.item_ids]
            for packet in container.demux(streams):
                for frame in packet.decode():
                    if isinstance(frame, VideoFrame):
                        frames.setdefault(packet.stream.id, frame)
    except av.error.FFmpegError as error:
        raise ValueError(f"its picture cannot be decoded ({error.strerror})") from error
    num_decoded = sum(item in frames for item in picture.item_ids)
    if num_decoded < len(picture.item_ids):
        raise ValueError(f"only {num_decoded} of the {len(picture.item_ids)} tiles of its picture can be decoded")
    for frame in frames.values():
        if frame.colorspace == _UNTAGGED:
            frame.colorspace = _BT601
    tiles = [VideoPicture(frames[item], orientation=UPRIGHT).pixels for item in picture.item_ids]
    if len({tile.shape for tile in tiles}) > 1:
        raise ValueError("the tiles of its picture differ in size")
    rows = [np.hstack(tiles[at : at + picture.num_columns]) for at in range(0, len(tiles), picture.num_columns)]
    pixels = np.vstack(rows)
    if picture.size_wh is not None:
        pixels = pixels[: picture.size_wh[1], : picture.size_wh[0]]
    return np.ascontiguousarray(pixels)
