"""Anchor picture: objects in a frame → the anchors of the demo network that learn each of them, grid by grid."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from export.examples import PAD_VALUE
from export.families.demo_network import ANCHOR_ASPECTS, ANCHOR_SIZES_PX, NETWORK_WH, STRIDES, anchors
from export.lineage.pictures.sheet import BLUE, ORANGE, Sheet, draw_boxes
from export.train_demo import POSITIVE_IOU, match_anchors
from pipeline.picture.boxes import convert
from pipeline.picture.detections import Detections
from pipeline.picture.frame import ArrayPicture, PixelArray
from pipeline.picture.letterbox import Letterbox


def draw_anchors(path: Path, pixels: PixelArray, objects: Detections) -> None:
    """Draw the objects of a frame, and of each grid the anchors that its training counts as positive for them."""
    letterbox = Letterbox.fit((pixels.shape[1], pixels.shape[0]), NETWORK_WH, "letterbox-center")
    seen = np.full((NETWORK_WH[1], NETWORK_WH[0], 3), PAD_VALUE, np.uint8)
    seen[letterbox.content_window] = ArrayPicture(pixels).resized(letterbox.content_wh, colour="bgr")
    boxes = letterbox.boxes_to_network(objects.boxes_xyxy)
    all_anchors = anchors()
    labels, _ = match_anchors(
        torch.from_numpy(boxes), torch.from_numpy(objects.class_ids), torch.zeros(0, 4), all_anchors
    )
    corners = convert(all_anchors.numpy(), "cxcywh", "xyxy")  # [A, 4]
    sheet = Sheet(2, 2, title=f"Anchors that overlap an object by IoU {POSITIVE_IOU:g} learn it", panel_wh=(6.4, 3.9))
    for index, (grid, stride) in enumerate(zip(anchors_by_grid(), STRIDES, strict=True)):
        positive = corners[grid][labels.numpy()[grid] > 0]
        shapes = len(ANCHOR_SIZES_PX[index]) * len(ANCHOR_ASPECTS)
        num = grid.stop - grid.start
        caption = f"stride {stride}: {len(positive)} of {num} anchors, {shapes} in a cell"
        axes = sheet.picture(index // 2, index % 2, seen, caption=caption)
        draw_boxes(axes, positive, ORANGE, width=1.0)
        draw_boxes(axes, boxes, BLUE, width=1.8)
    sheet.write(path)


def anchors_by_grid() -> list[slice]:
    """The rows of `anchors()` that belong to each stride."""
    counts = [
        len(sizes) * len(ANCHOR_ASPECTS) * int(np.prod([-(-side // stride) for side in NETWORK_WH]))
        for stride, sizes in zip(STRIDES, ANCHOR_SIZES_PX, strict=True)
    ]
    ends = np.cumsum(counts).tolist()
    return [slice(end - count, end) for end, count in zip(ends, counts, strict=True)]
