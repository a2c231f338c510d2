"""Realistic outputs: a kind of detector → seeded arrays as it answers, with one object that stands out.

All are for a network of 96 × 64 and 80 classes, and have no batch side.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
Outputs = dict[str, Array]

NETWORK_WH = (96, 64)
NUM_CLASSES = 80
BOX_XYXY = (24.0, 16.0, 56.0, 48.0)  # of the object, in network pixels
CXCYWH = (40.0, 32.0, 32.0, 32.0)
SCORE = 0.9
CLASS_ID = 2  # a car, counted from 0
CELL = (5, 4)  # of stride 8, column and row, in which its centre lies
INDEX = CELL[1] * 12 + CELL[0]
SIDES = np.array(NETWORK_WH * 2, np.float32)


def num_cells(strides: tuple[int, ...] = (8, 16, 32)) -> int:
    return sum(-(-NETWORK_WH[0] // stride) * -(-NETWORK_WH[1] // stride) for stride in strides)


def class_scores(num: int, *, row: int = INDEX, score: float = SCORE, num_classes: int = NUM_CLASSES) -> Array:
    """[N, C], most close to 0, some up to 0.5, and the object's."""
    chance = np.random.default_rng(num)
    scores = chance.beta(0.2, 20, (num, num_classes)).clip(1e-6, 0.5)
    scores[row] = chance.uniform(0, 0.001, num_classes)
    scores[row, CLASS_ID] = score
    return scores.astype(np.float32)


def boxes_cxcywh(num: int, *, row: int = INDEX) -> Array:
    """[N, 4] in network pixels, all over the picture and partly outside."""
    chance = np.random.default_rng(num + 1)
    centres = chance.uniform(0, 1, (num, 2)) * NETWORK_WH
    boxes = np.concatenate([centres, chance.uniform(4, 48, (num, 2))], axis=1)
    boxes[row] = CXCYWH
    return boxes.astype(np.float32)


def corners(boxes: Array) -> Array:
    return np.concatenate([boxes[:, :2] - boxes[:, 2:] / 2, boxes[:, :2] + boxes[:, 2:] / 2], axis=1)


def logit(scores: Array) -> Array:
    return np.asarray(np.log(scores / (1 - scores)), np.float32)


def yolov5() -> Outputs:
    num = 3 * num_cells()
    objectness = np.random.default_rng(5).beta(0.2, 20, (num, 1)).astype(np.float32)
    objectness[INDEX] = 1
    return {"output": np.concatenate([boxes_cxcywh(num), objectness, class_scores(num)], axis=1)}


def yolov5_with_its_maps() -> Outputs:
    chance = np.random.default_rng(55)
    sizes = {"340": (8, 12), "350": (4, 6), "360": (2, 3)}
    maps = {name: chance.normal(-3, 2, (3, *size, 85)).astype(np.float32) for name, size in sizes.items()}
    return {**yolov5(), **maps}


def yolov6() -> Outputs:
    num = num_cells()
    ones = np.ones((num, 1), np.float32)
    return {"outputs": np.concatenate([boxes_cxcywh(num), ones, class_scores(num)], axis=1)}


def yolox_decoded() -> Outputs:
    num = num_cells()
    objectness = np.random.default_rng(6).beta(0.2, 20, (num, 1)).astype(np.float32)
    objectness[INDEX] = 0.95
    rows = [boxes_cxcywh(num), objectness, class_scores(num, score=SCORE / 0.95)]
    return {"output": np.concatenate(rows, axis=1)}


def yolox() -> Outputs:
    chance = np.random.default_rng(7)
    rows = yolox_decoded()["output"]
    rows[:, :2] = chance.normal(0.5, 0.4, (len(rows), 2))
    rows[:, 2:4] = chance.normal(0.5, 0.6, (len(rows), 2))
    rows[INDEX, :4] = (0, 0, np.log(4), np.log(4))
    return {"output": rows}


def yolov8() -> Outputs:
    num = num_cells()
    return {"output0": np.concatenate([boxes_cxcywh(num), class_scores(num)], axis=1).T}


def angles(num: int, *, row: int = INDEX) -> Array:
    """[N] in radians, the object's 0, as if it stood upright."""
    turned = np.random.default_rng(num + 3).uniform(-np.pi / 4, np.pi * 3 / 4, num).astype(np.float32)
    turned[row] = 0
    return turned


def yolov8_oriented() -> Outputs:
    output = yolov8()["output0"]
    return {"output0": np.concatenate([output, angles(output.shape[1])[None]])}


def table_oriented() -> Outputs:
    boxes, class_ids, scores = finished()
    centres, sides = (boxes[:, :2] + boxes[:, 2:]) / 2, boxes[:, 2:] - boxes[:, :2]
    columns = [centres, sides, scores[:, None], class_ids[:, None], angles(len(boxes), row=0)[:, None]]
    return {"output0": np.pad(np.concatenate(columns, axis=1), ((0, 280), (0, 0))).astype(np.float32)}


def poses() -> Outputs:
    """As MMPose's RTMO answers; all objects are of one class."""
    boxes, _, scores = finished()
    chance = np.random.default_rng(17)
    points = chance.uniform(0, 1, (len(boxes), 17, 3)) * (*NETWORK_WH, 1)
    return {"dets": np.concatenate([boxes, scores[:, None]], axis=1), "keypoints": points.astype(np.float32)}


def yolov8_normalised() -> Outputs:
    output = yolov8()["output0"]
    output[:4] /= SIDES[:, None]
    return {"output0": output}


def yolov8_turned() -> Outputs:
    return {"output0": yolov8()["output0"].T}


def finished(num: int = 20) -> tuple[Array, Array, Array]:
    """Boxes [N, 4] as corners in network pixels, class ids [N] from 0, scores [N]: the best first, the object."""
    chance = np.random.default_rng(num + 2)
    boxes = corners(boxes_cxcywh(num, row=0)).clip(0, SIDES)
    scores = np.sort(chance.uniform(0.02, 0.7, num))[::-1].astype(np.float32)
    class_ids = chance.integers(0, NUM_CLASSES, num)
    scores[0], class_ids[0] = SCORE, CLASS_ID
    return boxes, class_ids, scores


def table(*columns: str, num: int = 20, padded_to: int = 0, first_class_id: int = 0) -> Outputs:
    """Detections with these columns, one output."""
    boxes, class_ids, scores = finished(num)
    values = dict(zip(("x1", "y1", "x2", "y2"), boxes.T, strict=True))
    values |= {"score": scores, "class": class_ids + first_class_id, "image": np.zeros(num)}
    rows = np.stack([values[name] for name in columns], axis=1).astype(np.float32)
    return {"output0": np.pad(rows, ((0, max(0, padded_to - num)), (0, 0)))}


def tensorflow() -> Outputs:
    boxes, class_ids, scores = finished(10)
    return {
        "detection_boxes:0": (boxes / SIDES)[:, [1, 0, 3, 2]],
        "detection_classes:0": (class_ids + 1).astype(np.float32),
        "detection_scores:0": scores,
        "num_detections:0": np.array(10, np.float32),
    }


def efficient_nms() -> Outputs:
    boxes, class_ids, scores = finished(12)
    return {
        "num_dets": np.array([12], np.int32),
        "det_boxes": np.pad(boxes, ((0, 88), (0, 0))),
        "det_scores": np.pad(scores, (0, 88)),
        "det_classes": np.pad(class_ids, (0, 88)).astype(np.int32),
    }


def mmdeploy() -> Outputs:
    boxes, class_ids, scores = finished()
    dets = np.concatenate([boxes, scores[:, None]], axis=1)
    return {"dets": np.pad(dets, ((0, 5), (0, 0))), "labels": np.pad(class_ids, (0, 5))}


def detectron2() -> Outputs:
    boxes, class_ids, scores = finished()
    return {"769": boxes, "770": class_ids, "771": scores, "772": np.array([64, 96], np.int64)}


def torchvision(names: tuple[str, str, str] = ("boxes", "labels", "scores")) -> Outputs:
    boxes, class_ids, scores = finished()
    return dict(zip(names, (boxes, class_ids + 1, scores), strict=True))


def detr_with_sizes() -> Outputs:
    """Its boxes are in 0..1 and have to be multiplied with the size that is fed."""
    boxes, class_ids, scores = finished(300)
    return {"labels": class_ids, "boxes": boxes / SIDES, "scores": scores}


def detr(activation: str, *, num_queries: int = 100) -> Outputs:
    boxes = boxes_cxcywh(num_queries, row=7) / SIDES
    scores = class_scores(num_queries, row=7)
    if activation == "sigmoid":
        return {"logits": logit(scores), "pred_boxes": boxes}
    return {"pred_logits": np.roll(with_background(scores, "softmax"), -1, axis=1), "pred_boxes": boxes}


def with_background(scores: Array, activation: str) -> Array:
    """Class values [A, 1 + C] of scores [A, C]: background first, which is sure nearly everywhere."""
    if activation != "sigmoid":
        scores = np.where(scores > 0.5, scores, scores / 10)
    scores = scores / np.maximum(1, scores.sum(axis=1, keepdims=True) / 0.95)
    background = 1 - scores.sum(axis=1, keepdims=True)
    values = np.concatenate([background, scores], axis=1)
    if activation == "none":
        return values.astype(np.float32)
    if activation == "softmax":
        return np.asarray(np.log(values.clip(1e-7)) - 2, np.float32)
    return logit(np.concatenate([np.full_like(background, 1e-4), scores.clip(1e-7)], axis=1))


def ssd_decoded(activation: str, *, num_classes: int = NUM_CLASSES) -> Outputs:
    scores = class_scores(400, num_classes=num_classes, score=0.9)
    return {"scores": with_background(scores, activation), "boxes": corners(boxes_cxcywh(400)) / SIDES}


def anchors() -> Array:
    """[A, 4]: centre y, centre x, height, width in 0..1."""
    chance = np.random.default_rng(8)
    boxes = np.concatenate([chance.uniform(0, 1, (400, 2)), chance.uniform(0.1, 0.6, (400, 2))], axis=1)
    boxes[INDEX] = (0.4, 0.45, 0.4, 0.3)
    return boxes.astype(np.float32)


def ssd_raw(activation: str = "sigmoid") -> Outputs:
    offsets = np.random.default_rng(9).normal(0, 1, (400, 4))
    y, x, h, w = anchors()[INDEX].tolist()
    cx, cy, width, height = (np.array(CXCYWH) / SIDES).tolist()
    offsets[INDEX] = ((cy - y) / h * 10, (cx - x) / w * 10, 5 * np.log(height / h), 5 * np.log(width / w))
    scores = class_scores(400)
    return {"class_predictions": with_background(scores, activation), "box_encodings": offsets.astype(np.float32)}


def distances(centre_xy: tuple[float, float], num: int) -> Array:
    """Distributions [N, 4 × 8] over distances in strides of 8, whose expectations around a centre give the object."""
    values = np.random.default_rng(10).normal(0, 2, (num, 4, 8))
    (cx, cy), (left, top, right, bottom) = centre_xy, BOX_XYXY
    for side, distance in enumerate((cx - left, cy - top, right - cx, bottom - cy)):
        bin_index, fraction = divmod(distance / 8, 1)
        shares = np.full(8, 1e-9)
        shares[int(bin_index)], shares[int(bin_index) + 1] = max(1 - fraction, 1e-9), max(fraction, 1e-9)
        values[INDEX, side] = np.log(shares)
    return values.reshape(num, 32).astype(np.float32)


def nanodet() -> Outputs:
    outputs: Outputs = {}
    for kind in ("cls_pred_stride_", "dis_pred_stride_"):
        for stride in (8, 16, 32):
            num = num_cells((stride,))
            scores = class_scores(num, row=INDEX if stride == 8 else 0, score=SCORE if stride == 8 else 0.1)
            values = distances((43.5, 35.5), num_cells())[:num]
            outputs[f"{kind}{stride}"] = scores if kind.startswith("cls") else values
    return outputs


def nanodet_plus() -> Outputs:
    num = num_cells((8, 16, 32, 64))
    return {"output": np.concatenate([class_scores(num), distances((40, 32), num)], axis=1)}


def picodet() -> Outputs:
    """As Paddle names them: by no meaning at all, classes first."""
    classes, sides = [], []
    for stride in (8, 16, 32, 64):
        num = num_cells((stride,))
        classes.append(class_scores(num, row=INDEX if stride == 8 else 0, score=SCORE if stride == 8 else 0.1))
        sides.append(distances((44, 36), num_cells())[:num])
    return {f"transpose_{index}.tmp_0": values for index, values in enumerate(classes + sides)}


def fastestdet() -> Outputs:
    chance = np.random.default_rng(11)
    maps = chance.normal(0, 1, (5 + NUM_CLASSES, 4, 6))
    powers = np.exp(2 * maps[5:])
    maps[0] = chance.beta(0.2, 5, (4, 6)).clip(0, 0.5)
    maps[5:] = powers / powers.sum(axis=0)
    maps[:5, 2, 2] = (SCORE, np.arctanh(0.5), 0, -np.log(2), 0)
    maps[5:, 2, 2] = 0
    maps[5 + CLASS_ID, 2, 2] = SCORE
    return {"output": maps.astype(np.float32)}
