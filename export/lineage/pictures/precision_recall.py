"""PR picture: detections and the truth → precision over recall, AP as the area below, and AP by IoU threshold."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from export.lineage.pictures.sheet import BLUE, FAINT, INK, ORANGE, Sheet
from pipeline.accuracy.truth import Truth
from pipeline.accuracy.voc import judge, voc_precisions
from pipeline.errors import ConfigError
from pipeline.picture.detections import Detections

IOU_THRESHOLDS = tuple(round(0.5 + 0.05 * step, 2) for step in range(10))

Curve = npt.NDArray[np.float64]


def draw_precision_recall(
    path: Path, detections: Sequence[Detections], truths: Sequence[Truth], class_names: Sequence[str]
) -> None:
    """Draw the class with the most objects at IoU .5, and the mean AP at IoU .5 to .95 of all classes.

    The areas are Pascal VOC's, all points. Raises ConfigError where the frames have no object.
    """
    ids = np.concatenate([np.zeros(0, np.int64), *(truth.objects.class_ids for truth in truths)])
    if not len(ids):
        raise ConfigError("the frames must have objects in their truth, got none; take another --on")
    class_id = int(np.bincount(ids).argmax())
    num_objects = int((ids == class_id).sum())
    recall, precision = staircase(detections, truths, class_id, iou_threshold=0.5)
    envelope = np.maximum.accumulate(precision[::-1])[::-1]
    means = mean_ap_by_iou(detections, truths, num_classes=len(class_names))
    sheet = Sheet(1, 2, title="Precision, recall and AP", panel_wh=(5.6, 4.3))
    ap = voc_precisions(detections, truths, num_classes=len(class_names))[class_id] or 0.0
    axes = sheet.panel(0, 0, caption=f"{class_names[class_id]}, {num_objects} objects, IoU .5: AP {ap:.3f}")
    axes.fill_between([0, *recall], [1, *envelope], step="pre", color=BLUE, alpha=0.18, label="area = AP")
    axes.plot(recall, precision, color=ORANGE, linewidth=1.3, zorder=3, label="after each detection, surest first")
    axes.step([0, *recall], [1, *envelope], where="pre", color=BLUE, linewidth=2.4, label="best at this recall or more")
    axes.set(xlabel="recall", ylabel="precision", xlim=(0, 1), ylim=(0, 1.03))
    axes.legend(frameon=False, fontsize=9, loc="lower left")
    axes = sheet.panel(0, 1, caption=f"AP by IoU threshold, mean of classes: mAP {np.mean(means):.3f}")
    bars = axes.bar([f"{threshold:.2f}"[1:] for threshold in IOU_THRESHOLDS], means, color=BLUE, alpha=0.75)
    axes.bar_label(bars, fmt="%.2f", fontsize=8.5, color=INK)
    axes.axhline(float(np.mean(means)), color=FAINT, linewidth=1.2, linestyle="--")
    axes.set(xlabel="a detection counts from this IoU on", ylim=(0, 1.08))
    sheet.write(path)


def staircase(
    detections: Sequence[Detections], truths: Sequence[Truth], class_id: int, *, iou_threshold: float
) -> tuple[Curve, Curve]:
    """Recall and precision [N] after each detection of a class, best score first."""
    is_right = judge(detections, truths, class_id, iou_threshold)  # [N]
    num_right = np.cumsum(is_right, dtype=np.int64)
    num_objects = sum(int((truth.objects.class_ids == class_id).sum()) for truth in truths)
    return num_right / max(1, num_objects), num_right / np.arange(1, len(is_right) + 1)


def mean_ap_by_iou(
    detections: Sequence[Detections], truths: Sequence[Truth], *, num_classes: int
) -> npt.NDArray[np.float64]:
    """The mean AP over classes that have objects, for each of IOU_THRESHOLDS [10]."""
    means = []
    for threshold in IOU_THRESHOLDS:
        by_class = voc_precisions(detections, truths, num_classes=num_classes, iou_threshold=threshold)
        means.append(np.mean([ap for ap in by_class if ap is not None]))
    return np.array(means)
