"""Kinds of sources: a word → the row of a table that says what it means, how it is opened and which files it reads.

To add a kind of source, write its file and put a row into `SOURCE_KINDS`.
"""

from __future__ import annotations

from collections.abc import Hashable
from pathlib import Path

from pipeline.errors import SourceError, StreamdetError
from pipeline.path_identity import path_identity
from pipeline.sources.file_sets import FileSet, list_entries
from pipeline.sources.kind import SourceKind, SourceLimit
from pipeline.sources.opened_video import open_address, open_image_address
from pipeline.sources.openers import (
    open_camera,
    open_clip,
    open_file,
    open_folder,
    open_images,
    open_list,
    open_stdin,
    open_street,
    refuse_absent_camera,
)
from pipeline.sources.words import (
    DEMO_CLIP,
    device_of,
    existing_path,
    is_address,
    is_camera,
    is_clip,
    is_folder,
    is_image,
    is_image_address,
    is_list,
)

CHEAP_CODECS = ("h264", "mpeg4", "mpeg2video")  # to decode
SMALL_PIXELS = 1280 * 720


def kind_of(word: str) -> SourceKind:
    """The kind of source that a word means. Raises SourceError for a path that does not exist."""
    return next(kind for kind in SOURCE_KINDS if kind.matches(word))


def kinds_in_words() -> str:
    """Every kind of source and how it is written, for help texts and errors."""
    return ", ".join(f"{kind.name} ({kind.help})" for kind in SOURCE_KINDS)


def source_words(word: str) -> tuple[str, ...]:
    """The sources that a word stands for: those of a file that ends in .streams, side by side, or the one itself.

    Raises SourceError for a list that cannot be read or is empty.
    """
    if not word.lower().endswith(".streams") or is_address(word):
        return (word,)
    path = existing_path(word)
    words = tuple(entry for _, entry in list_entries(path))
    if not words:
        raise SourceError(f"{path}: must name a source in each line, got an empty list")
    return words


def files_of(word: str) -> tuple[Path, ...]:
    """The files of this machine that a word means, as `open_source` reads it; () for what is not a file."""
    try:
        words = source_words(word)
        files = tuple(path for source in words for path in kind_of(source).files(source))
        return files if words == (word,) else (existing_path(word), *files)
    except (StreamdetError, OSError, ValueError):
        return ()  # what cannot be opened cannot be overwritten; opening it says why


def identity_of(word: str) -> Hashable:
    """What is the same for all words that mean one source: of a camera its device, of a path the file, else the word.

    So `0`, `/dev/video0` and a link to it under `/dev/v4l/by-id/` are one camera.
    """
    try:
        return kind_of(word).identity(word)
    except (StreamdetError, OSError, ValueError):
        return word  # opening it says why it cannot be opened


def advice_about(limit: SourceLimit) -> str:
    """How a source that limits a run can be made faster, which completes "Limited by …: "."""
    try:
        return kind_of(limit.word).advice(limit)
    except StreamdetError:  # its file has gone since it was opened
        return SOURCE_KINDS[-1].advice(limit)


def _clip_files(word: str) -> tuple[Path, ...]:
    from pipeline.sources.street.clip import CLIP_FILE

    return (CLIP_FILE,)


def _files_of_folder(word: str) -> tuple[Path, ...]:
    files = FileSet.of(existing_path(word))
    return (*files.images, *files.videos)


def _files_of_list(word: str) -> tuple[Path, ...]:
    path = existing_path(word)
    files = FileSet.of_list(path)
    return (path, *files.images, *files.videos)


def _file_of(word: str) -> tuple[Path, ...]:
    path = existing_path(word)
    return (path,) if path.is_file() else ()


def _identity_of_camera(word: str) -> Hashable:
    from pipeline.sources.webcam import node_of

    return path_identity(node_of(device_of(word)))


def _identity_of_path(word: str) -> Hashable:
    return path_identity(existing_path(word))


def _advice_about_files(limit: SourceLimit) -> str:
    from pipeline.sources.source import HasParts

    if isinstance(limit.source, HasParts):
        return "decoding the files takes the time; smaller ones, or videos in H.264, are decoded faster"
    return "reading the images takes the time; smaller ones, or JPEG instead of PNG, are read faster"


def _advice_about_video(limit: SourceLimit) -> str:
    """By size and codec: where both are cheap already, only fewer pictures or more cores help."""
    from pipeline.sources.isolated.source import IsolatedSource
    from pipeline.sources.video.source import VideoSource

    width, height = limit.source.size_wh or (0, 0)
    codec = (limit.source.codec_name if isinstance(limit.source, VideoSource | IsolatedSource) else None) or "video"
    decoding = f"decoding {width}×{height} {codec} takes the time"
    if codec in CHEAP_CODECS and width * height <= SMALL_PIXELS:
        return f"{decoding}; detect in fewer frames (--every {limit.every + 1}), or run it on more cores"
    return f"{decoding}; a smaller video{'' if codec in CHEAP_CODECS else ', or H.264,'} is decoded faster"


SOURCE_KINDS: tuple[SourceKind, ...] = (
    SourceKind(
        "camera",
        "0 or /dev/video0",
        matches=is_camera,
        open=open_camera,
        may_come_later=True,
        isolation="by default",
        refuse=refuse_absent_camera,
        identity=_identity_of_camera,
    ),
    SourceKind(
        "drawn street",
        "sim:traffic?seed=1",
        matches=lambda word: word.startswith("sim:"),
        open=open_street,
        advice=lambda _: f"drawing it takes the time, which a video such as {DEMO_CLIP} does not need",
        is_repeatable=True,
    ),
    SourceKind(
        "video that comes with streamdet",
        DEMO_CLIP,
        matches=is_clip,
        open=open_clip,
        files=_clip_files,
        advice=_advice_about_video,
    ),
    SourceKind(
        "standard input",
        "-",
        matches=lambda word: word == "-",
        open=open_stdin,
        advice=_advice_about_video,
        takes_span=True,
    ),
    SourceKind("image on the network", "http(s)://…/a.jpg", matches=is_image_address, open=open_image_address),
    SourceKind(
        "stream or file on the network",
        "rtsp:// or http(s)://",
        matches=is_address,
        open=open_address,
        advice=lambda _: "reading it takes the time; where that is the network, download the file first",
        takes_span=True,
        may_idle=True,
        may_come_later=True,
        isolation="on request",
    ),
    SourceKind(
        "images and videos",
        "a folder or a glob such as '*.jpg'",
        matches=is_folder,
        open=open_folder,
        takes_span=True,
        files=_files_of_folder,
        identity=_identity_of_path,
        advice=_advice_about_files,
    ),
    SourceKind(
        "list of them, or of cameras",
        "files.txt or cameras.streams",
        matches=is_list,
        open=open_list,
        files=_files_of_list,
        identity=_identity_of_path,
        advice=_advice_about_files,
        takes_span=True,
    ),
    SourceKind(
        "image",
        "a.jpg",
        matches=is_image,
        open=open_images,
        files=_file_of,
        identity=_identity_of_path,
        advice=_advice_about_files,
    ),
    SourceKind(
        "video",
        "any other file, or a named pipe",
        matches=lambda _: True,
        open=open_file,
        files=_file_of,
        identity=_identity_of_path,
        advice=_advice_about_video,
        takes_span=True,
        may_idle=True,
        isolation="on request",
    ),
)
"""In the order in which they are tried; the last one takes every path that exists."""
