"""Which source does a word on the command line mean?"""

from __future__ import annotations

import difflib
import glob
import re
import sys
from functools import partial
from pathlib import Path, PurePosixPath
from typing import BinaryIO
from urllib.parse import urlsplit

from pipeline.errors import SourceError, StreamdetError
from pipeline.masking import masked_address
from pipeline.sources.address_user import with_escaped_user
from pipeline.sources.options import SourceOptions
from pipeline.sources.source import FrameSource
from pipeline.user_path import path_of_url, user_path


def open_source(word: str, *, options: SourceOptions | None = None, stdin: BinaryIO | None = None) -> FrameSource:
    """Open what the word means. Raises SourceError, with the nearest name for a file that is not there.

    `0` or `/dev/video0`: a camera. `sim:traffic?seed=1`: drawn traffic. `-`: a stream from `stdin`, the process's
    own if None. `rtsp://…`, `http://…`: a stream or a file on the network. A folder, a glob or an image file:
    images. Any other file, or a named pipe: a video. What holds one image, wherever it comes from, is that image.
    """
    if not isinstance(word, str) or not word.strip():
        raise SourceError(f"a source must be a word, such as 0 for a webcam, a file or an address, got {word!r}")
    # The kinds of source are imported as they are needed: each brings a heavy library along.
    options = options or SourceOptions()
    if word.startswith("sim:"):
        from pipeline.sources.street.traffic import TrafficSource

        return TrafficSource.from_spec(word)
    if word == "-":
        return _open_video(stdin or _stdin(), word, options)
    if word.isdecimal() or word.startswith(("/dev/video", "/dev/v4l/")):
        return _open_camera(word, options)
    if word.lower().startswith("file://"):
        return _open_path(path_of_url(word), options)
    if re.match(r"[A-Za-z][A-Za-z0-9+.-]*://", word):
        address = with_escaped_user(word)
        return _open_image_address(address, options) or _open_video(address, word, options)
    return _open_path(word, options)


def files_of(word: str) -> tuple[Path, ...]:
    """The files of this machine that a word means, as `open_source` reads it; () for what is no file."""
    from pipeline.sources.images import ImagesSource

    is_address = re.match(r"[A-Za-z][A-Za-z0-9+.-]*://", word) and not word.lower().startswith("file://")
    if is_address or word == "-" or word.startswith("sim:"):
        return ()
    try:
        path = user_path(word)
        if path.is_file():
            return (path,)
        return ImagesSource(path).paths if path.is_dir() or glob.has_magic(str(path)) else ()
    except (StreamdetError, OSError, ValueError):
        return ()  # what cannot be opened cannot be overwritten; to open it says why


def _open_path(word: str, options: SourceOptions) -> FrameSource:
    from pipeline.sources.images import IMAGE_SUFFIXES, ImagesSource

    path = user_path(word, raises=SourceError)
    try:
        is_there = path.exists()
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise SourceError(f"{masked_address(word)[:200]!r} cannot be the path of a source: {reason}") from error
    if not is_there and not glob.has_magic(word):
        raise SourceError(_missing(path))
    holds_images = path.is_dir() or not path.exists()
    if holds_images or path.suffix.lower() in IMAGE_SUFFIXES or _is_heif_still(path):
        return ImagesSource(word)
    return _open_video(path, word, options)


def _is_heif_still(path: Path) -> bool:
    """Whether it is a HEIC under another name, of which libav would take one tile for the picture."""
    from pipeline.sources.heif import is_still

    if not path.is_file():  # a pipe is read once
        return False
    try:
        with path.open("rb") as file:
            return is_still(file.read(64))
    except OSError:  # whoever opens it next says why
        return False


def _open_image_address(word: str, options: SourceOptions) -> FrameSource | None:
    """The image at an http address that bears an image's name; None where there is none, or a camera's stream."""
    from pipeline.sources.download import download
    from pipeline.sources.images import IMAGE_SUFFIXES, StillSource

    try:
        parts = urlsplit(word)
    except ValueError as error:
        raise SourceError(f"{masked_address(word)} cannot be read as an address: {error}") from error
    if parts.scheme not in ("http", "https") or PurePosixPath(parts.path).suffix.lower() not in IMAGE_SUFFIXES:
        return None
    content = download(word, timeout_seconds=options.network.open_timeout_s)
    if content is None:
        return None
    return StillSource(content, source_id=masked_address(word))


def _open_video(address: str | Path | BinaryIO, word: str, options: SourceOptions) -> FrameSource:
    from pipeline.sources.reconnecting import ReconnectingSource
    from pipeline.sources.video.source import VideoSource

    open_video = partial(VideoSource, address, source_id=word, network=options.network, decode=options.decode)
    source = open_video()
    content = source.read_still()
    if content is not None:
        from pipeline.sources.images import StillSource

        source.close()
        return StillSource(content, source_id=source.source_id)
    if not source.is_live or source.format_name == "hls":
        return source  # libav itself goes on with a playlist, and one that is opened again would be replayed

    def reopen() -> VideoSource | None:
        again = open_video()
        if source.beginning is not None and again.beginning in (source.beginning, None):
            again.close()
            return None
        return again

    return ReconnectingSource(source, reopen, reconnect_seconds=options.network.reconnect_s)


def _open_camera(word: str, options: SourceOptions) -> FrameSource:
    from pipeline.sources.webcam import WebcamSource

    return WebcamSource(int(word) if word.isdecimal() else word, options=options.camera)


def _stdin() -> BinaryIO:
    if sys.stdin is None or sys.stdin.isatty():
        raise SourceError("-: nothing is piped in; for example: ffmpeg -i … -f mpegts - | streamdet run -")
    return sys.stdin.buffer


def _missing(path: Path) -> str:
    shown = masked_address(str(path))
    if not path.parent.is_dir():
        return f"{shown}: there is no folder {masked_address(str(path.parent))}"
    names = [each.name for each in path.parent.iterdir()]
    nearest = difflib.get_close_matches(path.name, names, n=1)
    suggestion = f"; did you mean {path.with_name(nearest[0])}?" if nearest else ""
    return f"{shown}: there is no such file{suggestion}"
