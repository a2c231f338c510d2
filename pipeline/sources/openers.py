"""Openers: a request for a source of a kind → the open source. Each brings a heavy library along, when it is called."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.errors import SourceError
from pipeline.sources.file_sets import IMAGE_NAMES, VIDEO_NAMES, FileSet
from pipeline.sources.kind import SourceRequest
from pipeline.sources.opened_video import open_video
from pipeline.sources.words import device_of, existing_path, typed_path

if TYPE_CHECKING:
    from pipeline.sources.source import FrameSource


def open_camera(request: SourceRequest) -> FrameSource:
    """A camera of this machine, which is opened again when it breaks."""
    from pipeline.sources.reconnecting import ReconnectingSource
    from pipeline.sources.webcam import WebcamSource

    def open_again() -> WebcamSource:
        return WebcamSource(device_of(request.word), options=request.options.camera)

    return ReconnectingSource(open_again(), open_again, reconnect_seconds=request.options.network.reconnect_s)


def refuse_absent_camera(word: str) -> None:
    """Raise SourceError for a camera that does not exist or may not be used."""
    from pipeline.sources.webcam import refuse_absent

    refuse_absent(device_of(word))


def open_street(request: SourceRequest) -> FrameSource:
    """Drawn traffic."""
    from pipeline.sources.street.traffic import TrafficSource

    return TrafficSource.from_spec(request.word)


def open_clip(request: SourceRequest) -> FrameSource:
    """The video that comes with streamdet."""
    from pipeline.sources.street.clip import StreetClip

    return StreetClip(source_id=request.word, decode=request.options.decode)


def open_stdin(request: SourceRequest) -> FrameSource:
    """The video that is piped in. Raises SourceError where nothing is."""
    if request.stdin is not None:
        return open_video(request.stdin, request.word, request.options)
    if sys.stdin is None or sys.stdin.isatty():
        raise SourceError("-: nothing is piped in; for example: ffmpeg -i … -f mpegts - | streamdet run -")
    return open_video(sys.stdin.buffer, request.word, request.options)


def open_images(request: SourceRequest) -> FrameSource:
    """One image file."""
    from pipeline.sources.images import ImagesSource

    return ImagesSource(typed_path(request.word))


def open_folder(request: SourceRequest) -> FrameSource:
    """The images and videos of a folder or a glob. Raises SourceError where there are none."""
    path = existing_path(request.word)
    files = FileSet.of(path)
    if not files.images and not files.videos:
        if not path.is_dir():
            raise SourceError(f"{path}: there is no such file, and as a pattern it matches no image and no video")
        names = f"image files are {IMAGE_NAMES}; video files are {VIDEO_NAMES}"
        raise SourceError(f"{path}: no image and no video in this folder; {names}")
    return _in_sequence(request, path, files)


def open_list(request: SourceRequest) -> FrameSource:
    """The images and videos that a file names, one a line. Raises SourceError for an empty one."""
    path = existing_path(request.word)
    files = FileSet.of_list(path)
    if not files.images and not files.videos:
        raise SourceError(f"{path}: must name a file in each line, got an empty list")
    return _in_sequence(request, path, files)


def _in_sequence(request: SourceRequest, path: Path, files: FileSet) -> FrameSource:
    """The images and videos of a set as one source; images alone are an ImagesSource."""
    from pipeline.sources.images import ImagesSource
    from pipeline.sources.sequence import SequenceSource

    files.warn_of_others(path, "neither images nor videos", read=(*files.images, *files.videos))
    source_id = typed_path(request.word)
    if files.images and not request.options.span.is_all:
        raise SourceError(f"{source_id}: --start and --end are for videos, and it has images; leave them out")
    if not files.videos:
        return ImagesSource(source_id, paths=files.images)
    return SequenceSource(source_id, files, open_video=lambda video: open_video(video, str(video), request.options))


def open_file(request: SourceRequest) -> FrameSource:
    """A video file or a named pipe; the image in it where it holds only one."""
    return open_video(existing_path(request.word), typed_path(request.word), request.options)
