"""Proposed scenes: scenes → the boxes that selective search proposes in each picture, kept in the cache folder."""

from __future__ import annotations

import hashlib
import multiprocessing
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from export.examples import PAD_VALUE, Example
from export.lineage.learning import Training
from export.lineage.scenes import Scenes
from pipeline.cache_folder import cache_folder
from pipeline.detector import selective_search as search
from pipeline.detector.selective_search import selective_search
from pipeline.picture.boxes import FloatArray
from pipeline.whole_file import WholeFile

_FEW = 8  # pictures that are not worth a second process


def proposals_of(scenes: Scenes, training: Training) -> list[FloatArray]:
    """The boxes xyxy [P, 4] of each picture in network pixels, best first; from the cache folder, if they are there."""
    path = cache_folder() / "lineage" / f"proposals-{_key(scenes)}.npz"
    try:
        with np.load(path) as kept:
            boxes, ends = kept["boxes"], kept["ends"]
            return [np.asarray(part, np.float32) for part in np.split(boxes, ends[:-1])]
    except (OSError, ValueError, KeyError, zipfile.BadZipFile):
        proposals = list(_search_all(scenes, training))
        _keep(path, proposals)
        return proposals


def _key(scenes: Scenes) -> str:
    """That of the pixels and of the code that proposes."""
    digest = hashlib.sha256(Path(search.__file__).read_bytes())
    for example in scenes.examples:
        digest.update(example.pixels.tobytes())
    return digest.hexdigest()[:16]


def _search_all(scenes: Scenes, training: Training) -> Iterator[FloatArray]:
    examples, num = scenes.examples, len(scenes.examples)
    if num <= _FEW:
        yield from map(search_example, examples)
        return
    with multiprocessing.get_context("spawn").Pool() as pool:
        for done, boxes in enumerate(pool.imap(search_example, examples), start=1):
            training.on_step("selective search", done, num)
            yield boxes


def search_example(example: Example) -> FloatArray:
    """The proposals of one picture, as the runtime makes them: outside of the padding."""
    rows = np.flatnonzero((example.pixels != PAD_VALUE).any(axis=(1, 2)))
    columns = np.flatnonzero((example.pixels != PAD_VALUE).any(axis=(0, 2)))
    if not len(rows):
        return np.zeros((0, 4), np.float32)
    top, left = rows[0], columns[0]
    content = np.ascontiguousarray(example.pixels[top : rows[-1] + 1, left : columns[-1] + 1])
    return np.asarray(selective_search(content) + np.array([left, top] * 2, np.float32), np.float32)


def _keep(path: Path, proposals: list[FloatArray]) -> None:
    ends = np.cumsum([len(boxes) for boxes in proposals])
    try:
        with WholeFile(path) as target:
            np.savez_compressed(target.file, boxes=np.concatenate(proposals), ends=ends)
            target.finish()
    except OSError:  # a cache that cannot be kept is made anew
        pass
