"""Tracking accuracy: HOTA, MOTA and IDF1 are those of TrackEval, the reference implementation.

`pip install trackeval` for it. Motrics 0.3 gives the same HOTA and IDF1, and now and then another MOTA.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from pipeline.accuracy.tracking import tracking_accuracy
from pipeline.picture.boxes import intersection_over_union
from pipeline.picture.detections import Detections
from pipeline.picture.tracking.tracker import NO_TRACK, track_ids_of
from tests.support.walking_boxes import walking_boxes


@pytest.mark.parametrize("seed", range(6))
def test_the_numbers_are_those_of_trackeval(seed: int) -> None:
    metrics = pytest.importorskip("trackeval").metrics
    rng = np.random.default_rng(seed)
    walks = walking_boxes(seed, num_objects=seed * 3 + 1, num_frames=25, side=200)
    truths = [frame.select(track_ids_of(frame) != NO_TRACK) for frame in walks]
    tracked = [_worse(frame, rng) for frame in truths]
    tracked[3] = tracked[3].select(np.zeros(0, np.int64))
    numbers = tracking_accuracy(tracked, truths).overall
    assert numbers is not None
    data = {
        "num_timesteps": len(truths),
        "num_gt_ids": seed * 3 + 1,
        "num_tracker_ids": seed * 3 + 1,
        "num_gt_dets": sum(map(len, truths)),
        "num_tracker_dets": sum(map(len, tracked)),
        "gt_ids": [track_ids_of(frame) for frame in truths],
        "tracker_ids": [track_ids_of(frame) for frame in tracked],
        "similarity_scores": [
            intersection_over_union(truth.boxes_xyxy, frame.boxes_xyxy).astype(np.float64)
            for truth, frame in zip(truths, tracked, strict=True)
        ],
    }
    hota = metrics.HOTA().eval_sequence(data)
    clear = metrics.CLEAR({"PRINT_CONFIG": False}).eval_sequence(data)
    identity = metrics.Identity({"PRINT_CONFIG": False}).eval_sequence(data)
    shares = (hota["HOTA"].mean(), hota["DetA"].mean(), hota["AssA"].mean(), clear["MOTA"], identity["IDF1"])
    assert (numbers.hota, numbers.deta, numbers.assa, numbers.mota, numbers.idf1) == pytest.approx(shares, abs=1e-6)
    counts = (clear["CLR_FN"], clear["CLR_FP"], clear["IDSW"])
    assert (numbers.num_misses, numbers.num_false_alarms, numbers.num_id_switches) == counts


def _worse(truth: Detections, rng: np.random.Generator) -> Detections:
    """Boxes with noise, some missing, of which two have changed identities now and then."""
    boxes = truth.boxes_xyxy + rng.normal(0, 5, truth.boxes_xyxy.shape).astype(np.float32)
    ids = track_ids_of(truth).copy()
    if len(ids) > 1 and rng.random() < 0.3:
        ids[:2] = ids[1::-1]
    return replace(truth, boxes_xyxy=boxes, track_ids=ids).select(rng.random(len(ids)) > 0.2)
