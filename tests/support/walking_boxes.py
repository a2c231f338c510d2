"""Walking boxes: a seed → the detections of frames in which boxes walk about, with noise, misses and false ones."""

from __future__ import annotations

import numpy as np

from pipeline.picture.detections import Detections


def walking_boxes(
    seed: int,
    *,
    num_frames: int = 40,
    num_objects: int = 8,
    num_classes: int = 1,
    side: float = 600,
    speed: float = 3.0,
) -> list[Detections]:
    """Detections with the truth's number as track_ids, -1 of false ones; scores .15 to 1, shuffled in each frame."""
    rng = np.random.default_rng(seed)
    centres, sizes = rng.random((num_objects, 2)) * side, rng.random((num_objects, 2)) * 60 + 30
    velocities, classes = rng.normal(0, speed, (num_objects, 2)), rng.integers(0, num_classes, num_objects)
    frames = []
    for _ in range(num_frames):
        velocities += rng.normal(0, speed / 6, velocities.shape)
        centres += velocities
        seen = np.flatnonzero(rng.random(num_objects) > 0.1)
        num_false = rng.poisson(0.5)
        middle = np.concatenate([centres[seen], rng.random((num_false, 2)) * side])
        half = np.concatenate([sizes[seen], rng.random((num_false, 2)) * 60 + 30]) / 2
        boxes = np.concatenate([middle - half, middle + half], axis=1) + rng.normal(0, 1, (len(middle), 4))
        order = rng.permutation(len(boxes))
        scores = rng.uniform(0.15, 1, len(boxes))
        class_ids = np.concatenate([classes[seen], rng.integers(0, num_classes, num_false)])
        identities = np.concatenate([seen, np.full(num_false, -1)])
        frames.append(
            Detections(
                boxes[order].astype(np.float32),
                scores[order].astype(np.float32),
                class_ids[order].astype(np.int64),
                track_ids=identities[order].astype(np.int64),
            )
        )
    return frames
