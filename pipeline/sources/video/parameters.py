"""Stream parameters: a stream of an open input → the same parameters, which outlive the input."""

from __future__ import annotations

import io

import av
from av.video.stream import VideoStream


def kept_parameters(stream: VideoStream) -> VideoStream:
    """A stream of a file in memory that is never written: codec, size, extradata, colours and pixel aspect.

    Of it, `add_stream_from_template(…, opaque=True)` makes a stream of a new file.
    """
    container = av.open(io.BytesIO(), "w", format="matroska")
    return container.add_stream_from_template(stream, opaque=True)
