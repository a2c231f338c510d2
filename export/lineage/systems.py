"""Systems: the table of the line from HOG to DETR, in the order of its years."""

from __future__ import annotations

import difflib

from export.lineage.cascade_rcnn import CASCADE_R_CNN
from export.lineage.detr import DETR
from export.lineage.efficientdet import EFFICIENTDET
from export.lineage.fast_rcnn import FAST_R_CNN
from export.lineage.faster_rcnn import FASTER_R_CNN
from export.lineage.hog_svm import HOG_SVM
from export.lineage.mask_rcnn import MASK_R_CNN
from export.lineage.rcnn import R_CNN
from export.lineage.retinanet import RETINANET
from export.lineage.spp_net import SPP_NET
from export.lineage.ssd import SSD
from export.lineage.system import System
from export.lineage.yolo import YOLO
from pipeline.errors import ConfigError

SYSTEMS: tuple[System, ...] = (
    HOG_SVM,
    R_CNN,
    SPP_NET,
    FAST_R_CNN,
    FASTER_R_CNN,
    SSD,
    YOLO,
    RETINANET,
    MASK_R_CNN,
    CASCADE_R_CNN,
    EFFICIENTDET,
    DETR,
)


def systems_named(name: str) -> tuple[System, ...]:
    """All systems, or the one of that name. Raises ConfigError for another name, with the nearest."""
    if name == "all":
        return SYSTEMS
    names = {system.name: system for system in SYSTEMS}
    if name not in names:
        nearest = difflib.get_close_matches(name, [*names, "all"], n=1, cutoff=0.4)
        hint = f"did you mean {nearest[0]}?" if nearest else "there are"
        raise ConfigError(f"a system must be {', '.join(names)} or all, got {name!r}{'; ' + hint if nearest else ''}")
    return (names[name],)
