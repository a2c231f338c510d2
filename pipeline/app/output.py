"""Output: a kind of sink → the sinks to open of it, with their targets."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pipeline.app.config.run import RunConfig
from pipeline.app.stages import Advice
from pipeline.flow.stage import Sink
from pipeline.picture.detections import Result
from pipeline.sinks.picture_names import PictureNames, source_stems
from pipeline.sources.file_sets import IMAGE_SUFFIXES
from pipeline.sources.packets import HasPackets

Overlay = Callable[[Result], Sequence[str]]
"""The lines to write over a picture's top left."""


@dataclass(frozen=True, slots=True)
class Feed:
    """The frames of one source, as they come to the outputs."""

    source_id: str
    frames_per_second: float | None  # declared; None: not known
    is_live: bool
    images: Sequence[str] = ()  # the files, of a source whose frames, or some of them, are images of their own
    part_ids: Sequence[str] = ()  # of a source that reads several files one after another
    part_rate: Callable[[str], float | None] | None = None  # declared, of a part that has been opened
    size_wh: tuple[int, int] | None = None  # in pixels; None: not known, or of several sizes
    packets: HasPackets | None = None  # the source, where its coded packets can be heard
    file: Path | None = None  # that its frames are read from, with their media times; None: there is no such file
    end_seconds: Callable[[], float | None] | None = None  # of its last frame, once a recorded source has ended

    @property
    def frame_ids(self) -> Sequence[str]:
        """The source_ids of its frames."""
        return self.part_ids or (self.source_id,)

    @property
    def recorded_ids(self) -> Sequence[str]:
        """Those of its frames that are not images."""
        return [frame_id for frame_id in self.frame_ids if frame_id != self.source_id or not self.images]


@dataclass(frozen=True, slots=True)
class SinkRequest:
    """One sink to open."""

    config: RunConfig
    target: str  # as the output's `target` gave it; of several sources that are written to files, each has its own
    feed: Feed | None = None  # of an output that has a sink for each source
    feeds: Sequence[Feed] = ()  # of the whole run
    class_names: Sequence[str] = ()  # of the models, where they are known
    overlay: Overlay | None = None  # the lines that the rendered pictures lack, and that a window writes over them

    def picture_names(self) -> PictureNames:
        """The names that the run's pictures have in every output."""
        images = [image for feed in self.feeds for image in feed.images]
        return PictureNames(frame_ids_of(self.feeds), images)


@dataclass(frozen=True, slots=True)
class Output:
    """A kind of sink: when it is requested, what it takes, how it is opened, and what reports and charts say about it.

    target: the file, address or title that a configuration requests; None: not requested.
    open: raises a StreamdetError where the target cannot be written to or shown.
    colour: in charts, #rrggbb.
    file_option: the option that names the target, a file, which must not overwrite an input, and which the run names
        when it has ended; None: the output writes no file.
    files: those that a sink may write, where its target is not the one file.
    appends: whether the files may be there and are added to, so that they need no --overwrite.
    names_files: the target is a folder in which the sink names files, so that nothing that is read may lie there.
    per_source: each source has a sink of its own. in_main_thread: the sink is a `MainThreadSink`.
    takes_planes: a rendered picture may be on planes, because the sink encodes them.
    has_class_list: it has one list of classes for all pictures, so that its models must have the same.
    """

    role: str
    takes: Literal["result", "rendered"]
    target: Callable[[RunConfig], str | None]
    open: Callable[[SinkRequest], Sink[Any]]
    advice: Advice
    colour: str
    file_option: str | None = None
    files: Callable[[SinkRequest], Sequence[str]] | None = None
    appends: Callable[[RunConfig], bool] = lambda _: False
    names_files: bool = False
    per_source: bool = False
    in_main_thread: bool = False
    takes_planes: bool = False
    has_class_list: bool = False

    def requests(self, config: RunConfig, feeds: Sequence[Feed]) -> list[SinkRequest]:
        """The sinks to open; none where the output is not requested."""
        target = self.target(config)
        if target is None:
            return []
        if not self.per_source:
            return [SinkRequest(config, target, feeds=feeds)]
        if self.file_option is None or is_annotated(target):
            return [SinkRequest(config, target, feed, feeds) for feed in feeds]
        paths = recording_paths(target, frame_ids_of(feeds))
        return [SinkRequest(config, paths.get(feed.source_id, target), feed, feeds) for feed in feeds]

    def node_name(self, request: SinkRequest) -> str:
        """The role, and where there is a sink for each source, its file or its source."""
        if request.feed is None:
            return self.role
        has_own_file = (self.file_option is not None and len(request.feeds) == 1) or request.target != self.target(
            request.config
        )
        return f"{self.role} {request.target if has_own_file else request.feed.source_id}"


def frame_ids_of(feeds: Sequence[Feed]) -> list[str]:
    """The source_ids of all frames of a run."""
    return [frame_id for feed in feeds for frame_id in feed.frame_ids]


def is_folder(word: str) -> bool:
    """Whether an output is a folder: one that is there, or a word that ends in a slash."""
    return "://" not in word and (word.endswith(("/", os.sep)) or Path(word).is_dir())


def is_annotated(word: str | None) -> bool:
    """Whether -o is written as image files, and not as one recording."""
    return word is not None and (is_folder(word) or ("://" not in word and Path(word).suffix.lower() in IMAGE_SUFFIXES))


def recording_paths(path: str, source_ids: Sequence[str]) -> dict[str, str]:
    """The file of each source: `out.mp4` for one, `out-street.mp4`, `out-0.mp4` … for several; `out/street.mp4`."""
    stems = source_stems(source_ids)
    if is_folder(path):
        return {source_id: str(Path(path) / f"{stem}.mp4") for source_id, stem in stems.items()}
    if len(source_ids) == 1:
        return {source_ids[0]: path}
    base = Path(path)
    return {source_id: str(base.with_name(f"{base.stem}-{stem}{base.suffix}")) for source_id, stem in stems.items()}
