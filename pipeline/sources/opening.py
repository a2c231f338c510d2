"""Opening: a word on the command line → the source that it means, by a table of the kinds of sources.

To add a kind of source, write its file and put a row into `SOURCE_KINDS`.
"""

from __future__ import annotations

import difflib
import glob
import io
import re
import sys
import time
from collections.abc import Callable, Hashable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, BinaryIO, Literal
from urllib.parse import urlsplit

from pipeline.errors import SourceError, SourceRefusedError, StreamdetError
from pipeline.masking import masked_address
from pipeline.path_identity import path_identity
from pipeline.sources.address_user import with_escaped_user
from pipeline.sources.file_sets import IMAGE_NAMES, IMAGE_SUFFIXES, VIDEO_NAMES, FileSet, list_entries
from pipeline.sources.options import SourceOptions
from pipeline.user_path import path_of_url, user_path

if TYPE_CHECKING:  # each kind of source brings a heavy library along, and is imported when it is opened
    from pipeline.sources.absent import Opening
    from pipeline.sources.source import FrameSource

DEMO_CLIP = "demo:street"

CHEAP_CODECS = ("h264", "mpeg4", "mpeg2video")  # to decode
SMALL_PIXELS = 1280 * 720
FIRST_WAIT_SECONDS = 2.0  # for the first answers of cameras, before the run starts without those that are away
_CAMERA_NODES = ("/dev/video", "/dev/v4l/")
_HEIF_HEAD_BYTES = 64
_LACKS_RANGES = "partial file"  # what libav says of an MP4 in which it cannot go back to the first picture


@dataclass(frozen=True, slots=True)
class SourceRequest:
    """A source to be opened. stdin: what `-` reads; the process's own if None."""

    word: str
    options: SourceOptions
    stdin: BinaryIO | None = None


@dataclass(frozen=True, slots=True)
class SourceLimit:
    """A source that limits a run. every: one of this many of its pictures was read."""

    word: str
    source: FrameSource
    every: int = 1


def _no_files(word: str) -> tuple[Path, ...]:
    return ()


@dataclass(frozen=True, slots=True)
class SourceKind:
    """One row of the table: how a word is recognised as this kind of source, and how it is opened.

    matches and open may raise SourceError; open, a ConfigError for options within the word.
    """

    name: str
    help: str  # how the word is written
    matches: Callable[[str], bool]
    open: Callable[[SourceRequest], FrameSource]
    files: Callable[[str], tuple[Path, ...]] = _no_files  # of this machine that the word means
    advice: Callable[[SourceLimit], str] = lambda _: "give it smaller pictures"  # completes "Limited by …: "
    takes_span: bool = False  # whether it may be a video, of which a part can be read
    may_come_later: bool = False  # whether it may be live, and so away for a while and back
    isolation: Literal["by default", "on request", "never"] = "never"  # whether a process of its own reads it
    refuse: Callable[[str], None] = lambda _: None  # raises SourceError for what is not there, at no cost
    may_idle: bool = False  # whether it may be one video or stream, which can decode key frames alone
    is_repeatable: bool = False  # whether the word gives the same pictures each time, without a file to read them from
    identity: Callable[[str], Hashable] = lambda word: word  # the same for all words that mean one source


def open_source(word: str, *, options: SourceOptions | None = None, stdin: BinaryIO | None = None) -> FrameSource:
    """Open the source that a word means: the first row of SOURCE_KINDS that matches.

    `0` or `/dev/video0`: a camera. `sim:traffic?seed=1`: drawn traffic. `demo:street`: drawn traffic as a video, which
    comes with streamdet. `-`: a stream from `stdin`, the process's own if None. `rtsp://…`, `http://…`: a stream or a
    file on the network. A folder, a glob or an image file: images. Any other file, or a named pipe: a video. A video
    or an address that holds one image is that image.

    Raises SourceError, with the nearest name for a file that does not exist.
    """
    if not isinstance(word, str) or not word.strip():
        raise SourceError(f"a source must be one of {kinds_in_words()}; got {word!r}")
    kind, options = kind_of(word), options or SourceOptions()
    if not options.span.is_all and not kind.takes_span:
        raise SourceError(f"{masked_address(word)}: --start and --end are for recorded videos; leave them out")
    return _isolated(kind, word, options) or kind.open(SourceRequest(word, options, stdin))


def _isolated(kind: SourceKind, word: str, options: SourceOptions) -> FrameSource | None:
    """The source, read by a process of its own; None where it is to be read in this one."""
    can_isolate = sys.platform == "linux"
    is_meant = options.isolate == "all" or (can_isolate and kind.isolation == "by default")
    if options.isolate == "none" or kind.isolation == "never" or not is_meant:
        return None
    if not can_isolate:
        raise SourceError(f"{masked_address(word)}: --isolate all needs Linux, got {sys.platform}; leave it out")
    if kind.isolation == "on request" and options.decode.device != "cpu":
        raise SourceError(
            f"{masked_address(word)}: decode.device must be cpu for a source in a process of its own, got "
            f"{options.decode.device}, whose frames stay on the GPU; leave --isolate out, or decode on the processor"
        )
    from pipeline.sources.isolated.source import open_isolated

    files = kind.files(word)
    return open_isolated(word, options, file=files[0] if files else None, refuse=kind.refuse)


def open_sources_abreast(
    words: Sequence[str],
    *,
    options: SourceOptions,
    open_one: Callable[[str], FrameSource],
    tries_refused: bool = False,
    first_wait_seconds: float = FIRST_WAIT_SECONDS,
) -> list[FrameSource]:
    """Open the sources that words mean; one that may come later, and does not answer soon, is tried while others run.

    open_one: opens a word.
    tries_refused: whether one that its server refuses, for a wrong password or path, is tried, too; otherwise it fails.
    first_wait_seconds: for which the first answers of all together are waited for; that of a web server is waited for
    until network.open_timeout_s, because a file there is not to be taken for a camera.
    Raises SourceError for what is not there and cannot come, SourceRefusedError where all are refused; those that are
    open are closed then.
    """
    from pipeline.sources.absent import AbsentSource, Opening

    openings = [
        Opening(partial(open_one, word), source_id=masked_address(word)) if kind_of(word).may_come_later else None
        for word in words
    ]
    deadline = time.monotonic() + first_wait_seconds
    sources: list[FrameSource] = []
    with ExitStack() as undo:
        for opening in openings:
            if opening is not None:
                undo.callback(opening.abandon)
        for word, opening in zip(words, openings, strict=True):
            if opening is None:
                source = open_one(word)
            else:
                source = _answered(opening, until_seconds=None if _may_be_file(word) else deadline) or AbsentSource(
                    masked_address(word),
                    partial(open_one, word),
                    opening=opening,
                    patience_seconds=options.network.reconnect_s,
                    tries_refused=tries_refused,
                )
            undo.callback(source.close)
            sources.append(source)
        refusals = [opening.refusal for opening in openings if opening is not None]
        if refusals and refusals[0] and all(refusals) and len(refusals) == len(words) and not tries_refused:
            raise refusals[0]
        undo.pop_all()
    return sources


def _may_be_file(address: str) -> bool:
    """Whether there may be a file at an address, which has an end, as well as a camera."""
    return address.lower().startswith(("http://", "https://"))


def _answered(opening: Opening, *, until_seconds: float | None) -> FrameSource | None:
    """The source, if it is open by then; None: it takes longer, or failed."""
    if until_seconds is not None and not opening.wait(max(0.0, until_seconds - time.monotonic())):
        return None
    try:
        return opening.result()
    except SourceError:
        return None  # it is tried again, and says why


def source_words(word: str) -> tuple[str, ...]:
    """The sources that a word stands for: those of a file that ends in .streams, side by side, or the one itself.

    Raises SourceError for a list that cannot be read or is empty.
    """
    if not word.lower().endswith(".streams") or _is_address(word):
        return (word,)
    path = _existing_path(word)
    words = tuple(entry for _, entry in list_entries(path))
    if not words:
        raise SourceError(f"{path}: must name a source in each line, got an empty list")
    return words


def kind_of(word: str) -> SourceKind:
    """The kind of source that a word means. Raises SourceError for a path that does not exist."""
    return next(kind for kind in SOURCE_KINDS if kind.matches(word))


def files_of(word: str) -> tuple[Path, ...]:
    """The files of this machine that a word means, as `open_source` reads it; () for what is not a file."""
    try:
        words = source_words(word)
        files = tuple(path for source in words for path in kind_of(source).files(source))
        return files if words == (word,) else (_existing_path(word), *files)
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


def source_id_of(word: str) -> str:
    """What the source that a word means is called where nobody names it: without file://, and without its secrets."""
    return masked_address(_typed_path(word))


def advice_about(limit: SourceLimit) -> str:
    """How a source that limits a run can be made faster, which completes "Limited by …: "."""
    try:
        return kind_of(limit.word).advice(limit)
    except StreamdetError:  # its file has gone since it was opened
        return SOURCE_KINDS[-1].advice(limit)


def is_drawn(word: str) -> bool:
    """Whether a word means a drawn street, whose truth is known: one drawn on the way, or the clip of one."""
    return word.startswith(("sim:", DEMO_CLIP))


def kinds_in_words() -> str:
    """Every kind of source and how it is written, for help texts and errors."""
    return ", ".join(f"{kind.name} ({kind.help})" for kind in SOURCE_KINDS)


def _is_address(word: str) -> bool:
    is_file = word.lower().startswith("file://")
    return re.match(r"[A-Za-z][A-Za-z0-9+.-]*://", word) is not None and not is_file


def _is_image_address(word: str) -> bool:
    """Whether this is an http address with an image's suffix; a camera's stream may have one too."""
    if not _is_address(word):
        return False
    try:
        parts = urlsplit(with_escaped_user(word))
    except ValueError as error:
        raise SourceError(f"{masked_address(word)} cannot be read as an address: {error}") from error
    return parts.scheme in ("http", "https") and PurePosixPath(parts.path).suffix.lower() in IMAGE_SUFFIXES


def _is_folder(word: str) -> bool:
    """Whether this is a folder or a glob. Raises SourceError for a path that does not exist."""
    path = _existing_path(word)
    return path.is_dir() or not path.exists()


def _is_list(word: str) -> bool:
    return _existing_path(word).suffix.lower() == ".txt"


def _is_image(word: str) -> bool:
    path = _existing_path(word)
    return path.suffix.lower() in IMAGE_SUFFIXES or _is_heif_still(path)


def _is_heif_still(path: Path) -> bool:
    """Whether it is a HEIC under another name, of which libav would take one tile for the picture."""
    from pipeline.sources.heif import is_still

    if not path.is_file():  # a pipe is read once
        return False
    try:
        with path.open("rb") as file:
            return is_still(file.read(_HEIF_HEAD_BYTES))
    except OSError:  # whoever opens it next says why
        return False


def _existing_path(word: str) -> Path:
    """The path that a word means, or a glob as it is. Raises SourceError, with the nearest name, if there is none."""
    path = user_path(word, raises=SourceError)
    try:
        exists = path.exists()
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise SourceError(f"{masked_address(word)[:200]!r} cannot be the path of a source: {reason}") from error
    if not exists and not glob.has_magic(_typed_path(word)):
        raise SourceError(_missing(path))
    return path


def _typed_path(word: str) -> str:
    """A path as it was typed, without file://."""
    return path_of_url(word) if word.lower().startswith("file://") else word


def _missing(path: Path) -> str:
    shown = masked_address(str(path))
    if not path.parent.is_dir():
        return f"{shown}: there is no folder {masked_address(str(path.parent))}"
    names = [sibling.name for sibling in path.parent.iterdir()]
    nearest = difflib.get_close_matches(path.name, names, n=1)
    suggestion = f"; did you mean {path.with_name(nearest[0])}?" if nearest else ""
    return f"{shown}: there is no such file{suggestion}"


def _open_street(request: SourceRequest) -> FrameSource:
    from pipeline.sources.street.traffic import TrafficSource

    return TrafficSource.from_spec(request.word)


def _open_clip(request: SourceRequest) -> FrameSource:
    from pipeline.sources.street.clip import StreetClip

    return StreetClip(source_id=request.word, decode=request.options.decode)


def _is_clip(word: str) -> bool:
    """Whether this is the clip. Raises SourceError for another word of its scheme."""
    if word.startswith("demo:") and word != DEMO_CLIP:
        raise SourceError(f"the video that comes with streamdet is {DEMO_CLIP}, got {word!r}")
    return word == DEMO_CLIP


def _open_stdin(request: SourceRequest) -> FrameSource:
    if request.stdin is not None:
        return _open_video(request.stdin, request.word, request.options)
    if sys.stdin is None or sys.stdin.isatty():
        raise SourceError("-: nothing is piped in; for example: ffmpeg -i … -f mpegts - | streamdet run -")
    return _open_video(sys.stdin.buffer, request.word, request.options)


def _open_camera(request: SourceRequest) -> FrameSource:
    from pipeline.sources.reconnecting import ReconnectingSource
    from pipeline.sources.webcam import WebcamSource

    def open_again() -> WebcamSource:
        return WebcamSource(_device_of(request.word), options=request.options.camera)

    return ReconnectingSource(open_again(), open_again, reconnect_seconds=request.options.network.reconnect_s)


def _device_of(word: str) -> int | str:
    return int(word) if word.isdecimal() else word


def _refuse_absent_camera(word: str) -> None:
    from pipeline.sources.webcam import refuse_absent

    refuse_absent(_device_of(word))


def _identity_of_camera(word: str) -> Hashable:
    from pipeline.sources.webcam import node_of

    return path_identity(node_of(_device_of(word)))


def _identity_of_path(word: str) -> Hashable:
    return path_identity(_existing_path(word))


def _open_image_address(request: SourceRequest) -> FrameSource:
    """The image at an address; where there is no whole image, such as at a camera's stream, the video there."""
    from pipeline.sources.download import download
    from pipeline.sources.images import StillSource

    network = request.options.network
    try:
        content = download(with_escaped_user(request.word), timeout_seconds=network.open_timeout_s)
    except TimeoutError as error:
        raise SourceError(f"{masked_address(request.word)}: {network.no_answer}") from error
    if content is None:
        return _open_address(request)
    return StillSource(content, source_id=masked_address(request.word))


def _open_address(request: SourceRequest) -> FrameSource:
    address = with_escaped_user(request.word)
    try:
        return _open_video(address, request.word, request.options)
    except SourceError as error:
        if not (_may_be_file(address) and _LACKS_RANGES in str(error)):
            raise
        return _open_downloaded(address, masked_address(request.word), request.options)


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
    return _open_video(io.BytesIO(content), source_id, options)


def _open_images(request: SourceRequest) -> FrameSource:
    from pipeline.sources.images import ImagesSource

    return ImagesSource(_typed_path(request.word))


def _open_folder(request: SourceRequest) -> FrameSource:
    path = _existing_path(request.word)
    files = FileSet.of(path)
    if not files.images and not files.videos:
        if not path.is_dir():
            raise SourceError(f"{path}: there is no such file, and as a pattern it matches no image and no video")
        names = f"image files are {IMAGE_NAMES}; video files are {VIDEO_NAMES}"
        raise SourceError(f"{path}: no image and no video in this folder; {names}")
    return _in_sequence(request, path, files)


def _open_list(request: SourceRequest) -> FrameSource:
    path = _existing_path(request.word)
    files = FileSet.of_list(path)
    if not files.images and not files.videos:
        raise SourceError(f"{path}: must name a file in each line, got an empty list")
    return _in_sequence(request, path, files)


def _in_sequence(request: SourceRequest, path: Path, files: FileSet) -> FrameSource:
    """The images and videos of a set as one source; images alone are an ImagesSource."""
    from pipeline.sources.images import ImagesSource
    from pipeline.sources.sequence import SequenceSource

    files.warn_of_others(path, "neither images nor videos", read=(*files.images, *files.videos))
    source_id = _typed_path(request.word)
    if files.images and not request.options.span.is_all:
        raise SourceError(f"{source_id}: --start and --end are for videos, and it has images; leave them out")
    if not files.videos:
        return ImagesSource(source_id, paths=files.images)
    return SequenceSource(source_id, files, open_video=lambda video: _open_video(video, str(video), request.options))


def _open_file(request: SourceRequest) -> FrameSource:
    return _open_video(_existing_path(request.word), _typed_path(request.word), request.options)


def _open_video(address: str | Path | BinaryIO, source_id: str, options: SourceOptions) -> FrameSource:
    """A video; the image in it where it holds only one; a live stream that is opened again when it breaks."""
    from pipeline.sources.images import StillSource
    from pipeline.sources.reconnecting import ReconnectingSource, StreamOver
    from pipeline.sources.video.seen_packets import SeenPackets
    from pipeline.sources.video.source import VideoSource

    seen = SeenPackets()

    def open_video() -> VideoSource:
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

    source = open_video()
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
        again = open_video()
        if is_playlist and not again.is_live:
            again.close()
            raise StreamOver("its playlist has ended")
        if beginning is not None and again.beginning in (beginning, None):
            again.close()
            raise StreamOver("begins again with the same picture: a file, read to its end")
        return again

    return ReconnectingSource(source, reopen, reconnect_seconds=options.network.reconnect_s)


def _clip_files(word: str) -> tuple[Path, ...]:
    from pipeline.sources.street.clip import CLIP_FILE

    return (CLIP_FILE,)


def _files_of_folder(word: str) -> tuple[Path, ...]:
    files = FileSet.of(_existing_path(word))
    return (*files.images, *files.videos)


def _files_of_list(word: str) -> tuple[Path, ...]:
    path = _existing_path(word)
    files = FileSet.of_list(path)
    return (path, *files.images, *files.videos)


def _file_of(word: str) -> tuple[Path, ...]:
    path = _existing_path(word)
    return (path,) if path.is_file() else ()


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
        matches=lambda word: word.isdecimal() or word.startswith(_CAMERA_NODES),
        open=_open_camera,
        may_come_later=True,
        isolation="by default",
        refuse=_refuse_absent_camera,
        identity=_identity_of_camera,
    ),
    SourceKind(
        "drawn street",
        "sim:traffic?seed=1",
        matches=lambda word: word.startswith("sim:"),
        open=_open_street,
        advice=lambda _: f"drawing it takes the time, which a video such as {DEMO_CLIP} does not need",
        is_repeatable=True,
    ),
    SourceKind(
        "video that comes with streamdet",
        DEMO_CLIP,
        matches=_is_clip,
        open=_open_clip,
        files=_clip_files,
        advice=_advice_about_video,
    ),
    SourceKind(
        "standard input",
        "-",
        matches=lambda word: word == "-",
        open=_open_stdin,
        advice=_advice_about_video,
        takes_span=True,
    ),
    SourceKind("image on the network", "http(s)://…/a.jpg", matches=_is_image_address, open=_open_image_address),
    SourceKind(
        "stream or file on the network",
        "rtsp:// or http(s)://",
        matches=_is_address,
        open=_open_address,
        advice=lambda _: "reading it takes the time; where that is the network, download the file first",
        takes_span=True,
        may_idle=True,
        may_come_later=True,
        isolation="on request",
    ),
    SourceKind(
        "images and videos",
        "a folder or a glob such as '*.jpg'",
        matches=_is_folder,
        open=_open_folder,
        takes_span=True,
        files=_files_of_folder,
        identity=_identity_of_path,
        advice=_advice_about_files,
    ),
    SourceKind(
        "list of them, or of cameras",
        "files.txt or cameras.streams",
        matches=_is_list,
        open=_open_list,
        files=_files_of_list,
        identity=_identity_of_path,
        advice=_advice_about_files,
        takes_span=True,
    ),
    SourceKind(
        "image",
        "a.jpg",
        matches=_is_image,
        open=_open_images,
        files=_file_of,
        identity=_identity_of_path,
        advice=_advice_about_files,
    ),
    SourceKind(
        "video",
        "any other file, or a named pipe",
        matches=lambda _: True,
        open=_open_file,
        files=_file_of,
        identity=_identity_of_path,
        advice=_advice_about_video,
        takes_span=True,
        may_idle=True,
        isolation="on request",
    ),
)
"""In the order in which they are tried; the last one takes every path that exists."""
