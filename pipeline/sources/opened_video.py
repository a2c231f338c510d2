"""Opened videos: a file, an address or a stream → its video, the image in it, or a stream that is opened again."""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from pipeline.errors import SourceError, SourceRefusedError
from pipeline.masking import masked_address
from pipeline.sources.address_user import with_escaped_user
from pipeline.sources.kind import SourceRequest
from pipeline.sources.options import SourceOptions
from pipeline.sources.words import may_be_file

if TYPE_CHECKING:
    from pipeline.sources.source import FrameSource

_LACKS_RANGES = "partial file"  # what libav says of an MP4 in which it cannot go back to the first picture


def open_video(address: str | Path | BinaryIO, source_id: str, options: SourceOptions) -> FrameSource:
    """A video; the image in it where it holds only one; a live stream that is opened again when it breaks."""
    from pipeline.sources.images import StillSource
    from pipeline.sources.reconnecting import ReconnectingSource, StreamOver
    from pipeline.sources.video.seen_packets import SeenPackets
    from pipeline.sources.video.source import VideoSource

    seen = SeenPackets()

    def new_video() -> VideoSource:
        video = VideoSource(
            address,
            source_id=source_id,
            network=options.network,
            decode=options.decode,
            span=options.span,
            max_age_seconds=options.max_age_seconds,
            seen=seen,
        )
        video.key_frames_alone, video.idle = options.key_frames_alone, options.idle
        return video

    source = new_video()
    content = source.read_still()
    if content is not None:
        source.close()
        if not options.span.is_all:
            raise SourceError(f"{source.source_id}: --start and --end are for videos, and it is an image")
        return StillSource(content, source_id=source.source_id)
    if not source.is_live:
        return source

    is_playlist, beginning = source.is_playlist, source.beginning  # not the source, whose decoder would live on

    def reopen() -> VideoSource:
        again = new_video()
        if is_playlist and not again.is_live:
            again.close()
            raise StreamOver("its playlist has ended")
        if beginning is not None and again.beginning in (beginning, None):
            again.close()
            raise StreamOver("begins again with the same picture: a file, read to its end")
        return again

    return ReconnectingSource(source, reopen, reconnect_seconds=options.network.reconnect_s)


def open_address(request: SourceRequest) -> FrameSource:
    """The video or stream at an address; a file that its server gives no ranges of, once it has been downloaded."""
    address = with_escaped_user(request.word)
    try:
        return open_video(address, request.word, request.options)
    except SourceError as error:
        if not (may_be_file(address) and _LACKS_RANGES in str(error)):
            raise
        return _open_downloaded(address, masked_address(request.word), request.options)


def open_image_address(request: SourceRequest) -> FrameSource:
    """The image at an address; where there is no whole image, such as at a camera's stream, the video there."""
    from pipeline.sources.download import download
    from pipeline.sources.images import StillSource

    network = request.options.network
    try:
        content = download(with_escaped_user(request.word), timeout_seconds=network.open_timeout_s)
    except TimeoutError as error:
        raise SourceError(f"{masked_address(request.word)}: {network.no_answer}") from error
    if content is None:
        return open_address(request)
    return StillSource(content, source_id=masked_address(request.word))


def _open_downloaded(address: str, source_id: str, options: SourceOptions) -> FrameSource:
    """A video whose index is at its end, on a server that gives no ranges; it is read once it is here.

    Raises SourceRefusedError for one that is too large, or breaks off.
    """
    from pipeline.sources.download import MOST_BYTES, download

    try:
        content = download(address, timeout_seconds=options.network.open_timeout_s)
    except TimeoutError as error:
        raise SourceError(f"{source_id}: {options.network.no_answer}") from error
    if content is None:
        raise SourceRefusedError(
            f"{source_id}: its index is at its end, its server gives no ranges, and it breaks off or has more than "
            f"{MOST_BYTES >> 20} MB; download it, and read the file"
        )
    return open_video(io.BytesIO(content), source_id, options)
