"""Lineage scenes: bright rectangles of two classes on a dark floor → a small world in which a system can learn."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from export.examples import Example
from export.exporting import Exported, export_detector
from export.lineage import backbone
from export.lineage.judging import picture_of
from export.lineage.learning import Recipe, Training
from export.lineage.scenes import Scenes, World
from export.lineage.system import System
from export.proof.images import ProofImage

WORLD = World(("wide", "tall"), (96, 64))

TRAINS_LONG = pytest.mark.skipif(
    "STREAMDET_TEST_LINEAGE" not in os.environ, reason="trains a network, 10 s; set STREAMDET_TEST_LINEAGE=1"
)
"""For those that learn by what the others have been shown to learn by."""


def rectangles(num_pictures: int = 8, *, seed: int = 0) -> Scenes:
    """Pictures of 0, 1, 2, 3, 0, … objects; those of three have an object that counts neither way too."""
    chance = np.random.default_rng(seed)
    return Scenes(WORLD, tuple(_picture(chance, index % 4) for index in range(num_pictures)), "rectangles")


def _picture(chance: np.random.Generator, num_objects: int) -> Example:
    width, height = WORLD.network_wh
    pixels = chance.integers(0, 60, (height, width, 3)).astype(np.uint8)
    class_ids = chance.integers(0, 2, num_objects)
    boxes, object_map = np.zeros((num_objects, 4), np.float32), np.zeros((height, width), np.uint16)
    for index, class_id in enumerate(class_ids):
        w, h = (28, 18) if class_id == 0 else (16, 30)
        x, y = int(chance.integers(0, width - w)), int(chance.integers(0, height - h))
        boxes[index] = x, y, x + w, y + h
        object_map[y : y + h, x : x + w] = 1 + index
        pixels[y : y + h, x : x + w] = (230, 90, 60) if class_id == 0 else (70, 110, 240)
    ignored = np.array([[0, 0, 9, 9]] if num_objects == 3 else np.zeros((0, 4)), np.float32)
    return Example(pixels, boxes, class_ids.astype(np.int64), ignored, object_map)


def trained_shortly(
    system: System, module: object, monkeypatch: pytest.MonkeyPatch, *, num_steps: int = 24
) -> tuple[nn.Module, list[float]]:
    """A system after a few steps of its own training on rectangles, and the loss of every step."""
    losses: list[float] = []
    backward = Tensor.backward

    def noted(loss: Tensor, *arguments: object, **options: object) -> None:
        losses.append(float(loss.detach()))
        backward(loss, *arguments, **options)  # type: ignore[no-untyped-call]

    monkeypatch.setattr(Tensor, "backward", noted)
    monkeypatch.setattr(module, "pretrained", lambda *_: backbone.Backbone())  # its own test is elsewhere
    monkeypatch.setattr(module, "RECIPE", Recipe(steps=num_steps, learning_rate=1e-3))
    monkeypatch.setattr(module, "BATCH_SIZE", 8)
    network = system.train(rectangles(), Training())
    assert not network.training
    return network, losses


def exported(system: System, network: nn.Module, folder: Path) -> Exported:
    """The file of a network, compared with PyTorch on rectangles; it raises where they differ."""
    images = [ProofImage(f"rectangles {i}", picture_of(e)) for i, e in enumerate(rectangles(4, seed=1).examples)]
    with torch.no_grad():
        return export_detector(
            system.exportable(network, WORLD), folder / f"{system.name}.onnx", images=images, batch_sizes=(1, 2)
        )
