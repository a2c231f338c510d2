"""Backbone: pixels → feature maps at strides 8, 16 and 32, shared by all systems that learn features.

Fourteen convolutions with two residual blocks (He et al. 2016), less than half a million parameters. Where the papers
start from ImageNet, it starts as a classifier of crops of the training pictures; `pretrained` keeps the result in the
cache folder, and its time is not counted as a system's, as in the papers.
"""

from __future__ import annotations

import hashlib
import pickle
from typing import cast

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from export.examples import Example
from export.families.demo_network import convolution
from export.lineage.learning import Recipe, Training, pixels_of
from export.lineage.scenes import Scenes
from export.train_demo import fold_batch_norms
from pipeline.cache_folder import cache_folder
from pipeline.picture.boxes import FloatArray, intersection_over_union
from pipeline.picture.frame import PixelArray
from pipeline.whole_file import WholeFile

STRIDES = (8, 16, 32)
CHANNELS = (64, 96, 112)
CROP_PX = 64
_VERSION = 1  # of the network and its pretraining; a change makes cached weights invalid
_PRETRAINING = Recipe(steps=300, learning_rate=3e-3)
_BATCH = 64
_BACKGROUND_SHARE = 0.25
_BACKGROUND_IOU = 0.2


class Residual(nn.Module):
    """Convolutions 3 x 3 of as many channels, added to their input."""

    def __init__(self, channels: int, *, num_layers: int = 2) -> None:
        super().__init__()
        self.layers = nn.Sequential(*(convolution(channels, channels, kernel=3) for _ in range(num_layers)))

    def forward(self, x: Tensor) -> Tensor:
        return x + cast(Tensor, self.layers(x))


class Backbone(nn.Module):
    """Pixels float [N, 3, h, w] in -1..1, sides multiples of 32 → maps [N, 64, h/8, w/8], [N, 96, …], [N, 112, …]."""

    def __init__(self) -> None:
        super().__init__()
        self.to_stride_8 = nn.Sequential(
            convolution(3, 16, kernel=3, stride=2),
            convolution(16, 32, kernel=3, stride=2),
            Residual(32),
            convolution(32, 64, kernel=3, stride=2),
            Residual(64),
        )
        self.to_stride_16 = nn.Sequential(convolution(64, 96, kernel=3, stride=2), Residual(96, num_layers=1))
        self.to_stride_32 = nn.Sequential(convolution(96, 112, kernel=3, stride=2), Residual(112, num_layers=1))

    def forward(self, pixels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        fine = self.to_stride_8(pixels)
        middle = self.to_stride_16(fine)
        return fine, middle, self.to_stride_32(middle)


class CropClassifier(nn.Module):
    """Crops float [N, 3, 64, 64] → logits [N, 1 + classes], 0 the background."""

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.backbone = Backbone()
        self.classify = nn.Linear(CHANNELS[-1], 1 + num_classes)

    def forward(self, crops: Tensor) -> Tensor:
        return cast(Tensor, self.classify(self.backbone(crops)[-1].mean(dim=(2, 3))))


def pretrained(scenes: Scenes, training: Training) -> Backbone:
    """A backbone that has learnt to classify crops of these scenes; from the cache folder, if it is there."""
    path = cache_folder() / "lineage" / f"backbone-{_key(scenes, training)}.pt"
    backbone = Backbone()
    try:
        backbone.load_state_dict(torch.load(path, weights_only=True))
    except (OSError, RuntimeError, pickle.UnpicklingError, EOFError):  # not there, of another network, or broken
        backbone = _pretrain(scenes, training)
        try:
            with WholeFile(path) as target:
                torch.save(backbone.state_dict(), target.file)
                target.finish()
        except OSError:  # a cache that cannot be kept is made anew
            pass
    return backbone.eval()


def without_norms(backbone: Backbone) -> Backbone:
    """The same backbone, in place, its batch norms folded into its convolutions: for fine-tuning on few pictures."""
    fold_batch_norms(backbone.eval())
    return backbone


def _key(scenes: Scenes, training: Training) -> str:
    words = (_VERSION, scenes.name, len(scenes.examples), scenes.world, training.seed, _PRETRAINING.steps)
    return hashlib.sha256(repr(words).encode()).hexdigest()[:16]


def _pretrain(scenes: Scenes, training: Training) -> Backbone:
    chance = training.chance()
    network = CropClassifier(len(scenes.world.class_names))

    def loss() -> Tensor:
        crops, labels = zip(*(labelled_crop(scenes, chance) for _ in range(_BATCH)), strict=True)
        return F.cross_entropy(network(pixels_of(crops)).float(), torch.tensor(labels), label_smoothing=0.05)

    Training(seed=training.seed, on_step=training.on_step).learn("backbone", network, loss, _PRETRAINING)
    return network.backbone


def labelled_crop(scenes: Scenes, chance: np.random.Generator) -> tuple[PixelArray, int]:
    """A crop uint8 [64, 64, 3] and its label: an object, each class as often as another, or the background (0)."""
    if chance.random() >= _BACKGROUND_SHARE:
        class_id = int(chance.integers(len(scenes.world.class_names)))
        for index in chance.integers(0, len(scenes.examples), 50).tolist():
            example = scenes.examples[index]
            boxes = example.boxes_xyxy[example.class_ids == class_id]
            if len(boxes):
                return crop(example, _shaken(boxes[chance.integers(len(boxes))], chance), chance), 1 + class_id
    example = scenes.examples[int(chance.integers(len(scenes.examples)))]
    return crop(example, _background(example, chance), chance), 0


def crop(example: Example, box_xyxy: FloatArray, chance: np.random.Generator) -> PixelArray:
    """The pixels of a box [4], stretched to 64 x 64, mirrored half of the time; padded where it leaves the picture."""
    left, top, right, bottom = box_xyxy.tolist()
    source = np.array([[left, top], [right, top], [left, bottom]], np.float32)
    target = np.array([[0, 0], [CROP_PX, 0], [0, CROP_PX]], np.float32)
    if chance.random() < 0.5:
        target[:, 0] = CROP_PX - target[:, 0]
    turn = cv2.getAffineTransform(source, target)
    return np.asarray(cv2.warpAffine(example.pixels, turn, (CROP_PX, CROP_PX), borderValue=(127, 127, 127)), np.uint8)


def _shaken(box_xyxy: FloatArray, chance: np.random.Generator) -> FloatArray:
    size = np.tile(box_xyxy[2:] - box_xyxy[:2], 2)
    outwards = np.array([-0.08, -0.08, 0.08, 0.08])
    return np.asarray(box_xyxy + size * (chance.uniform(-0.12, 0.12, 4) + outwards), np.float32)


def _background(example: Example, chance: np.random.Generator) -> FloatArray:
    """A box that hardly touches an object, if one of twenty does not."""
    width, height = example.size_wh
    objects = np.concatenate([example.boxes_xyxy, example.ignored_xyxy])
    box = np.zeros(4, np.float32)
    for _ in range(20):
        size = np.exp(chance.uniform(np.log(14), np.log(90), 2))
        corner = chance.uniform(0, 1, 2) * (np.array([width, height]) - size)
        box = np.concatenate([corner, corner + size]).astype(np.float32)
        if not len(objects) or intersection_over_union(box[None], objects).max() < _BACKGROUND_IOU:
            break
    return box
