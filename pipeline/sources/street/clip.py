"""Street clip: `demo:street` → the pictures of a street that was drawn ahead and encoded, with their ground truth.

The file comes with streamdet. It goes through the decoder as any video does, so a run on it has the speed of a run on a
video, which a street that is drawn on the way has not. `tools/make_demo_clip.py` makes the clip and its truth.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from pipeline.picture.detections import Detections
from pipeline.sources.options import DecodeOptions
from pipeline.sources.video.source import VideoSource

CLIP_FILE = Path(__file__).with_name("clip.mp4")
TRUTH_FILE = Path(__file__).with_name("clip.npz")


class StreetClip(VideoSource):
    """The clip, a VideoSource with ground truth. Raises SourceError where the file cannot be read."""

    def __init__(self, *, source_id: str, decode: DecodeOptions | None = None) -> None:
        super().__init__(CLIP_FILE, source_id=source_id, decode=decode)
        with np.load(TRUTH_FILE) as arrays:
            self._class_names = tuple(arrays["class_names"].tolist())
            self._starts = arrays["starts"].astype(np.int64)  # [frames + 1], the rows of a frame
            self._boxes_xyxy = arrays["boxes_xyxy"].astype(np.float32)  # [rows, 4]
            self._class_ids = arrays["class_ids"].astype(np.int64)  # [rows]
            self._track_ids = arrays["track_ids"].astype(np.int64)  # [rows]
            self._is_ignored: npt.NDArray[np.bool_] = arrays["is_ignored"]  # [rows]

    @property
    def class_names(self) -> tuple[str, ...]:
        """The names of the class ids in the truth."""
        return self._class_names

    def truth(self, frame_index: int) -> Detections:
        """The labelled objects of a frame, in source pixels, with score 1; see `TrafficSource.truth`."""
        return self._rows(frame_index, ignored=False)

    def ignored(self, frame_index: int) -> Detections:
        """The visible objects of a frame that are not in its truth."""
        return self._rows(frame_index, ignored=True)

    def _rows(self, frame_index: int, *, ignored: bool) -> Detections:
        """Raises IndexError for a frame that the clip does not have."""
        if not 0 <= frame_index < len(self._starts) - 1:
            raise IndexError(f"the clip has frames 0 to {len(self._starts) - 2}, got {frame_index}")
        rows = np.arange(self._starts[frame_index], self._starts[frame_index + 1])
        rows = rows[self._is_ignored[rows] == ignored]
        return Detections(
            self._boxes_xyxy[rows],
            np.ones(len(rows), np.float32),
            self._class_ids[rows],
            track_ids=self._track_ids[rows],
        )


def write_truth(path: Path, class_names: Sequence[str], frames: Sequence[tuple[Detections, Detections]]) -> None:
    """Write truth and ignored objects, frame by frame; boxes in whole pixels, within a picture of at most 65535."""
    parts = [part for frame in frames for part in frame]
    lengths = np.array([len(truth) + len(ignored) for truth, ignored in frames])
    np.savez_compressed(
        path,
        class_names=np.array(class_names),
        starts=np.concatenate([[0], np.cumsum(lengths)]).astype(np.uint32),
        boxes_xyxy=np.concatenate([part.boxes_xyxy for part in parts]).round().astype(np.uint16),
        class_ids=np.concatenate([part.class_ids for part in parts]).astype(np.uint8),
        track_ids=np.concatenate([part.track_ids for part in parts if part.track_ids is not None]).astype(np.int32),
        is_ignored=np.concatenate([np.full(len(part), number % 2 == 1) for number, part in enumerate(parts)]),
    )
