"""Recipes: a convention → the way its pictures are prepared, in words and as fields of the spec."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

from pipeline.picture.detector_spec import DetectorSpec
from pipeline.picture.frame import ColourOrder
from pipeline.picture.letterbox import ResizeMode

IMAGENET_MEAN = (123.675, 116.28, 103.53)  # of RGB in 0..255
IMAGENET_STD = (58.395, 57.12, 57.375)


@dataclass(frozen=True, slots=True)
class Recipe:
    """A way to prepare pictures. None leaves a field of the spec as it is."""

    in_words: str
    colour: ColourOrder | None = None
    mean: tuple[float, float, float] | None = None  # in 0..255, in the order of `colour`
    std: tuple[float, float, float] | None = None
    resize: ResizeMode | None = None
    pad_value: int | tuple[int, int, int] | None = None  # in 0..255, in the order of `colour`

    def applied_to(self, spec: DetectorSpec) -> DetectorSpec:
        """The spec with the fields of the recipe in it, and its words as the last reason."""
        return dataclasses.replace(
            spec,
            colour=self.colour or spec.colour,
            mean=self.mean or spec.mean,
            std=self.std or spec.std,
            resize=self.resize or spec.resize,
            pad_value=spec.pad_value if self.pad_value is None else self.pad_value,
            provenance=(*spec.provenance, f"preprocessing: {self.in_words}"),
        )


ZERO_TO_ONE = Recipe("RGB 0..1", colour="rgb", mean=(0.0, 0.0, 0.0), std=(255.0, 255.0, 255.0))
LESS_IMAGENETS_MEAN = Recipe("RGB less ImageNet's mean", colour="rgb", mean=IMAGENET_MEAN, std=IMAGENET_STD)
YOLOX = Recipe(
    "YOLOX's, BGR 0..255, letterbox top left, pad 114", colour="bgr", std=(1.0, 1.0, 1.0), resize="letterbox-topleft"
)
BGR_AS_IT_IS = Recipe("BGR 0..255", colour="bgr", mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))
RGB_STRETCHED = Recipe("RGB as it is, stretched", resize="stretch")
"""Of a uint8 input, as TensorFlow's detectors have it."""
