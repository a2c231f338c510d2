"""Candidates: a detector and frames of a video → its files for the video, on each device, and how well each agrees."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from pipeline.accuracy.coco import precision_against
from pipeline.app.config.hints import HintsConfig
from pipeline.app.config.loading import with_keys
from pipeline.app.config.run import RunConfig
from pipeline.app.extras import load
from pipeline.app.frame_sample import detections_in_sample
from pipeline.app.network_shape import leaves_size_open
from pipeline.app.progress import WorkProgress
from pipeline.detector.onnx_file import copy_with_metadata
from pipeline.detector.probe_devices import probe_providers
from pipeline.errors import DeviceError, ModelError
from pipeline.measure.sampling import Sample
from pipeline.measure.search import Setting
from pipeline.measure.summary import Figure
from pipeline.picture.detections import Detections
from pipeline.picture.detector_spec import METADATA_KEY, DetectorSpec
from pipeline.picture.frame import ArrayPicture
from pipeline.picture.network_shape import shape_for

Numbers = Literal["float", "INT8"]

# On which devices another precision than the device's own may be faster; None: its own choice.
_PRECISIONS: dict[str, tuple[str | None, ...]] = {"openvino": (None, "fp32")}
_LOWEST_SCORE = 0.05


@dataclass(frozen=True, slots=True)
class ModelVariant:
    """A file of the detector: of one shape, in float or INT8."""

    path: Path
    spec: DetectorSpec
    numbers: Numbers = "float"
    remark: str = ""  # what it cost, in words

    @property
    def shape(self) -> str:
        """416 × 256."""
        return "{} × {}".format(*self.spec.network_wh)


@dataclass(slots=True)
class Candidate:
    """A file on a device. `refusal`: why it is not taken, whatever its speed."""

    variant: ModelVariant
    device: str
    precision: str  # that it truly computes in
    setting: Setting  # of the configuration
    is_own: bool = False  # the file as it was typed
    agreement: tuple[float, float] | None = None  # AP and AP50 against the start's confident detections, 0 to 1
    refusal: str | None = None
    rates: list[float] = field(default_factory=list)  # frames a second, by repeat

    def config(self, config: RunConfig) -> RunConfig:
        """The configuration that runs it. What was made here says itself how it is read, and takes no hints."""
        if not self.is_own:
            config = config.model_copy(update={"hints": HintsConfig()})
        return with_keys(config, self.setting)

    @property
    def name(self) -> str:
        """Shape, number format, device and precision."""
        return f"{self.variant.shape}, {self.variant.numbers}, {self.device}, {self.precision}"

    @property
    def fps(self) -> Figure | None:
        """Frames a second; None: not measured."""
        return Figure.of(self.rates) if self.rates else None


@dataclass(slots=True)
class Rejected:
    """What could not be made, and why."""

    what: str
    reason: str


class Making:
    """Makes files for frames of one size, in a folder, and says why it could not."""

    def __init__(self, config: RunConfig, sample: Sample, folder: Path, *, largest_drop: float, say: WorkProgress):
        self._config, self._sample, self._folder, self._say = config, sample, folder, say
        self._largest_drop = largest_drop  # of AP, 0 to 1
        self.rejected: list[Rejected] = []
        names = [f"frame {index}" for index in sample.frame_indices]
        proof_image = load("export.proof.images").ProofImage
        self._images = [
            proof_image(name, ArrayPicture(timed.picture.copy_pixels()))
            for name, timed in zip(names, sample.timed_pictures, strict=True)
        ]

    def in_shape(self, start: ModelVariant) -> ModelVariant | None:
        """The file for the shape of the frames; None where that is its own, and where it cannot be made or proved."""
        spec = start.spec
        sizes = {timed.picture.size_wh for timed in self._sample.timed_pictures}
        shapes = {shape_for(size_wh, spec.network_wh, spec.resize) for size_wh in sizes}
        if len(shapes) > 1:
            self.rejected.append(Rejected("another shape", f"the pictures have {len(sizes)} sizes"))
            return None
        (network_wh,) = shapes
        if network_wh == spec.network_wh:
            reason = "the pictures fill it" if spec.resize.startswith("letterbox") else f"its resizing is {spec.resize}"
            self.rejected.append(Rejected("another shape", f"{start.shape} has no padding to leave out: {reason}"))
            return None
        shape = "{} × {}".format(*network_wh)
        path = self._folder / "shape.onnx"
        try:
            resized = self._resized(start, path, network_wh)
            with self._say.phase(f"comparing {shape}", total=3 * len(self._images)) as phase:
                proof = load("export.proof.other_size").prove_size(
                    *(start.path, spec, path, resized, self._images),
                    largest_drop=self._largest_drop,
                    on_image=phase.advance,
                )
        except ModelError as error:
            self.rejected.append(Rejected(shape, str(error)))
            return None
        words = (
            f"AP {100 * proof.of_copy[0]:.1f} against {start.shape}, which has {100 * proof.of_moved[0]:.1f} against "
            "itself with the picture elsewhere in its padding"
        )
        self._say(f"{shape}: {words}")
        if not proof.passes:
            self.rejected.append(Rejected(shape, words))
            return None
        return ModelVariant(path, proof.spec, remark=words)

    def _resized(self, start: ModelVariant, path: Path, network_wh: tuple[int, int]) -> DetectorSpec:
        if not leaves_size_open(start.path, start.spec):
            resized: DetectorSpec = load("export.graph.network_size").resized_network(
                start.path, start.spec, path, network_wh
            )
            return resized
        spec = dataclasses.replace(start.spec, network_wh=network_wh, parity=None)
        copy_with_metadata(start.path, path, {METADATA_KEY: spec.to_json()})
        return spec

    def in_int8(self, start: ModelVariant) -> ModelVariant | None:
        """The file in INT8 within the limit; None where no choice of layers keeps it."""
        output = self._folder / "int8.onnx"
        try:
            with self._say.phase("quantizing", is_at_most=True) as phase:
                done = load("export.graph.quantize").quantize(
                    *(start.path, start.spec, output),
                    images=self._images,
                    labels=None,
                    largest_drop=self._largest_drop,
                    say=self._say,
                    on_step=phase.at,
                )
        except ModelError as error:
            self.rejected.append(Rejected("INT8", str(error)))
            return None
        layers = f"{done.num_layers - len(done.kept_in_float)} of {done.num_layers} layers in INT8"
        return ModelVariant(output, done.spec, "INT8", layers)


def candidates_of(variants: Sequence[ModelVariant]) -> Iterator[Candidate]:
    """Each file on each device that works here; the first is the start."""
    devices = [provider.device for provider in probe_providers() if provider.works and provider.device != "tensorrt"]
    ordered = ["cpu", *(device for device in devices if device != "cpu")]
    for variant in variants:
        for device in ordered:
            for precision in _PRECISIONS.get(device, (None,)):
                setting: dict[str, object] = {"engine.device": device, "engine.shape": "model"}
                if variant is not variants[0]:
                    setting["model"] = str(variant.path)
                if precision is not None:
                    setting["engine.precision"] = precision
                yield Candidate(variant, device, precision or "", setting, is_own=variant is variants[0])


def judge(
    candidates: Sequence[Candidate], config: RunConfig, sample: Sample, *, on_frame: Callable[[], None]
) -> list[Candidate]:
    """Let each detect in the sampled frames; a device that detects something else than the CPU is refused.

    The device and precision of each are those that it truly ran on, and of two that ran on the same the first stays.
    """
    reference: Sequence[Detections] = ()
    kept: list[Candidate] = []
    for candidate in candidates:
        spec = candidate.variant.spec
        try:
            detections, ran_on = detections_in_sample(
                candidate.config(config), sample, score_threshold=_LOWEST_SCORE, on_frame=on_frame
            )
        except DeviceError as error:
            candidate.precision = candidate.precision or "its own precision"
            candidate.refusal = str(error).partition("; use --device")[0]
            kept.append(candidate)
            continue
        candidate.device, candidate.precision = ran_on
        if any(other.variant is candidate.variant and (other.device, other.precision) == ran_on for other in kept):
            continue
        reference = reference or detections
        candidate.agreement = precision_against(detections, reference, score_threshold=spec.score_threshold)
        kept.append(candidate)
    return kept
