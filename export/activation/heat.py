"""Heat: a feature map and the weights of its channels → a map of what counts, in the pixels of the picture.

CAM (Zhou et al. 2016, https://arxiv.org/abs/1512.04150, section 2) takes the map below the layer that scores classes,
and that layer's weights. Grad-CAM (Selvaraju et al. 2017, https://arxiv.org/abs/1610.02391, section 3) takes any map,
and the gradient of the score, averaged over the map; where both apply, they are the same up to a factor.

Both are of classifiers. For a detector the score is that of the candidate which is the object, as log odds: of a
sigmoid that is the number before it. The weights belong to a channel as a whole, so that the heat is of all that looks
like the object, wherever it stands.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np

from pipeline.errors import ModelError
from pipeline.picture.boxes import FloatArray, intersection_over_union
from pipeline.picture.candidates import Candidates
from pipeline.picture.letterbox import Letterbox

Method = Literal["gradcam", "cam"]

_LEAST_ODDS = 1e-7  # of a score or of its rest: float32 has no more


@dataclass(frozen=True, slots=True)
class Activation:
    """What one layer says of a picture, and how much each of its channels adds to the score of the object."""

    layer: str
    maps: FloatArray  # [K, h, w]
    weights: FloatArray  # [K]: the log odds that one more in a channel adds, the mean over its cells

    def heat(self, letterbox: Letterbox) -> FloatArray:
        """The weighted sum of the maps, float32 [H, W] of the source picture, enlarged bilinearly.

        Negative where something speaks against the object, which the papers leave out (equation 2 of Grad-CAM).
        """
        coarse = np.tensordot(self.weights, self.maps, axes=1).astype(np.float32)  # [h, w]
        in_network = cv2.resize(coarse, letterbox.network_wh, interpolation=cv2.INTER_LINEAR)
        content = np.ascontiguousarray(in_network[letterbox.content_window])
        return np.asarray(cv2.resize(content, letterbox.source_wh, interpolation=cv2.INTER_LINEAR), np.float32)


def log_odds(score: float) -> float:
    """The logarithm of score : (1 - score), within what float32 can tell.

    >>> log_odds(0.5), round(log_odds(1.0), 1)
    (0.0, 16.1)
    """
    within = min(max(score, _LEAST_ODDS), 1 - _LEAST_ODDS)
    return float(np.log(within / (1 - within)))


def row_of_object(
    candidates: Candidates, box_xyxy: FloatArray, class_id: int, *, by_overlap_alone: bool = False
) -> int:
    """The candidate that is the object, of box [4] in network pixels: the largest IoU × score of its class.

    by_overlap_alone: the largest IoU, of a box that is that of a candidate. Raises ModelError if there is none.
    """
    rivals = np.flatnonzero(candidates.class_ids == class_id)
    likeness = np.nan_to_num(intersection_over_union(box_xyxy[None], candidates.boxes_xyxy[rivals])[0])  # [R]
    if not by_overlap_alone:
        likeness = likeness * candidates.scores[rivals]
    if not likeness.any():
        raise ModelError("the object must be among the candidates of the network, which has none of its class there")
    return int(rivals[np.argmax(likeness)])


def refuse_layers(count: int, method: Method, name: str) -> None:
    """Raise ModelError if the layers that count are not one, or, of Grad-CAM, at least one."""
    if method == "cam" and count != 1:
        raise ModelError(
            f"--method cam needs a network whose classes one convolution scores on a map of the picture, {name} has "
            f"{count or 'none'} of them for this object; take --method {'gradcam' if count else 'drise'}"
        )
    if not count:
        raise ModelError(f"{name} has no map of the picture on which the object's score depends; take --method drise")


def maps_of_picture(shapes: Sequence[tuple[int, ...]], network_wh: tuple[int, int]) -> list[int]:
    """Which tensors are maps [N, K, h, w] of the whole picture, as indices, the last one first.

    The papers take the last map, which says most of what things are. Left out are maps of regions, of which there are
    many, and of a single cell.
    """
    return [index for index in reversed(range(len(shapes))) if _is_of_picture(shapes[index], network_wh)]


def _is_of_picture(shape: tuple[int, ...], network_wh: tuple[int, int]) -> bool:
    if len(shape) != 4 or shape[0] != 1 or min(shape[2:]) < 2:
        return False
    across, down = network_wh[0] / shape[3], network_wh[1] / shape[2]
    # Where the stride does not divide a side, its number of cells is rounded up or down.
    return abs(shape[3] - network_wh[0] / down) <= 1 or abs(shape[2] - network_wh[1] / across) <= 1
