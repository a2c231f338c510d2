"""Opening: a word on the command line → the source that it means, read in this process or in one of its own."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, BinaryIO

from pipeline.errors import SourceError
from pipeline.masking import masked_address
from pipeline.sources.kind import SourceKind, SourceRequest
from pipeline.sources.kinds import kind_of, kinds_in_words
from pipeline.sources.options import SourceOptions

if TYPE_CHECKING:
    from pipeline.sources.source import FrameSource


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
