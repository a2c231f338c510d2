"""Object tally: results → objects by class, of a run and of each of its sources, and its images where they are few."""

from __future__ import annotations

import threading
from collections import Counter, OrderedDict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from pipeline.picture.detections import Detections, Result
from pipeline.picture.tracking.tracker import NO_TRACK

FEW_IMAGES = 3
"""Up to this many images a run keeps what was detected in each."""

_MOST_NAMES = 10  # of images without an object
_MOST_TRACKS = 10_000  # of a source, that are remembered; a tracker forgets one that is not seen long before


@dataclass(frozen=True, slots=True)
class ClassCount:
    """The objects of one class in the frames of a source, or of all."""

    name: str
    num_frames: int  # with one or more of them
    most_at_once: int  # in one frame
    num_boxes: int  # over all frames
    num_tracks: int | None  # distinct identities, each known until 10,000 others were seen; None: the results have none


@dataclass(frozen=True, slots=True)
class ObjectCounts:
    """What was detected in the frames of a source, or of all."""

    num_frames: int
    num_frames_with_objects: int
    classes: tuple[ClassCount, ...]  # that were seen; the one in most frames first


NO_OBJECTS = ObjectCounts(0, 0, ())


@dataclass(frozen=True, slots=True)
class ImageDetections:
    """The detections in one image; boxes in its pixels."""

    name: str
    size_wh: tuple[int, int]
    detections: Detections
    class_names: tuple[str, ...]  # of each detection, [N]


@dataclass(frozen=True, slots=True)
class ImageCounts:
    """The images of a run whose frames are all images of their own."""

    num_without_objects: int
    names_without_objects: tuple[str, ...]  # the first of them
    few: tuple[ImageDetections, ...]  # all images, where they are at most `FEW_IMAGES`; otherwise none


class ObjectTally:
    """Sees every result that goes to the outputs, once; `counts` may be read from any thread meanwhile.

    source_of_part: the source of a flow by the files that it reads one after another, whose names frames bear.
    """

    def __init__(self, source_of_part: Mapping[str, str] = MappingProxyType({})) -> None:
        self._source_of_part = source_of_part
        self._lock = threading.Lock()
        self._sources: dict[str, _SourceTally] = {}
        self._images = _ImageTally()

    def __call__(self, result: Result) -> None:
        """Count one result."""
        class_ids = result.detections.class_ids.tolist()
        names = [result.class_name(class_id) for class_id in class_ids]
        with self._lock:
            source_id = result.frame.source_id
            if source_id not in self._sources:
                self._sources[source_id] = _SourceTally()
            self._sources[source_id].add(names, result.detections)
            self._images.add(result, names)

    def counts(self) -> ObjectCounts:
        """Of all sources together; identities of several sources are different ones."""
        with self._lock:
            return _together(self._sources.values())

    def counts_by_source(self) -> Mapping[str, ObjectCounts]:
        """Of each source that gave a result, with all of its files."""
        with self._lock:
            tallies: dict[str, list[_SourceTally]] = {}
            for name, tally in self._sources.items():
                tallies.setdefault(self._source_of_part.get(name, name), []).append(tally)
            return {source_id: _together(of_source) for source_id, of_source in tallies.items()}

    def images(self) -> ImageCounts | None:
        """What was seen in images; None where a frame was one of a video, or there was none."""
        with self._lock:
            return self._images.counts()


@dataclass(slots=True)
class _SourceTally:
    num_frames: int = 0
    num_frames_with_objects: int = 0
    frames: Counter[str] = field(default_factory=Counter)  # all by class name
    boxes: Counter[str] = field(default_factory=Counter)
    most: dict[str, int] = field(default_factory=dict)
    num_tracks: Counter[str] = field(default_factory=Counter)
    names_by_track: OrderedDict[int, tuple[str, ...]] = field(default_factory=OrderedDict)  # the one seen last is last

    def add(self, names: list[str], detections: Detections) -> None:
        self.num_frames += 1
        if not names:
            return
        self.num_frames_with_objects += 1
        in_frame: dict[str, int] = {}
        for name in names:
            in_frame[name] = in_frame.get(name, 0) + 1
        for name, num in in_frame.items():
            self.frames[name] += 1
            self.boxes[name] += num
            self.most[name] = max(num, self.most.get(name, 0))
        if detections.track_ids is not None:
            for name, track_id in zip(names, detections.track_ids.tolist(), strict=True):
                self.num_tracks[name] += track_id != NO_TRACK and self._is_new(track_id, name)

    def _is_new(self, track_id: int, name: str) -> bool:
        """Whether a track is seen for the first time as one of a class; it is remembered from now on."""
        names = self.names_by_track.pop(track_id, ())
        is_new = name not in names
        self.names_by_track[track_id] = (*names, name) if is_new else names
        if len(self.names_by_track) > _MOST_TRACKS:
            self.names_by_track.popitem(last=False)
        return is_new


class _ImageTally:
    def __init__(self) -> None:
        self._num_images = self._num_others = self._num_without_objects = 0
        self._names_without_objects: list[str] = []
        self._few: list[ImageDetections] = []

    def add(self, result: Result, names: list[str]) -> None:
        image = result.frame.image
        if image is None:
            self._num_others += 1
            return
        self._num_images += 1
        if not names:
            self._num_without_objects += 1
            if len(self._names_without_objects) < _MOST_NAMES:
                self._names_without_objects.append(image)
        if self._num_images <= FEW_IMAGES:
            self._few.append(ImageDetections(image, result.frame.size_wh, result.detections, tuple(names)))
        else:
            self._few.clear()  # they may hold masks

    def counts(self) -> ImageCounts | None:
        if self._num_others or not self._num_images:
            return None
        return ImageCounts(self._num_without_objects, tuple(self._names_without_objects), tuple(self._few))


def _together(tallies: Iterable[_SourceTally]) -> ObjectCounts:
    sources = list(tallies)
    names = {name for source in sources for name in source.frames}
    classes = sorted((_class_count(name, sources) for name in names), key=_most_frequent_first)
    return ObjectCounts(
        sum(source.num_frames for source in sources),
        sum(source.num_frames_with_objects for source in sources),
        tuple(classes),
    )


def _class_count(name: str, sources: list[_SourceTally]) -> ClassCount:
    have_tracks = any(name in source.num_tracks for source in sources)
    return ClassCount(
        name,
        sum(source.frames[name] for source in sources),
        max(source.most.get(name, 0) for source in sources),
        sum(source.boxes[name] for source in sources),
        sum(source.num_tracks[name] for source in sources) if have_tracks else None,
    )


def _most_frequent_first(count: ClassCount) -> tuple[int, int, str]:
    return -count.num_frames, -count.num_boxes, count.name
