"""Start of a search: the configuration as typed → its detections in sampled frames, which other settings must keep."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from pipeline.app.config.loading import with_keys
from pipeline.app.config.run import RunConfig
from pipeline.app.frame_sample import detections_in_sample, sample_of
from pipeline.app.model_branch import checked_detector, model_of
from pipeline.app.thresholds import suppression_options
from pipeline.errors import ConfigError
from pipeline.measure.sampling import Sample
from pipeline.measure.search import Setting
from pipeline.picture.detections import Detections
from pipeline.picture.detector_spec import DetectorSpec
from pipeline.picture.parity import FP16_BAR, FP32_BAR, Bar, Parity, compare

# These frames of the beginning, which the trials read, must show that detections stay.
_NUM_FRAMES, _OF_FIRST = 24, 300
# A detection that is just shown finds its partner just below.
_LOWER_SHARE = 0.8


@dataclass(frozen=True, slots=True)
class Start:
    """Where the search starts: the configuration as it was typed, and its detections."""

    config: RunConfig
    spec: DetectorSpec
    device: str
    precision: str
    is_live: bool
    sample: Sample
    detections: Sequence[Detections]  # of each sampled frame, in source pixels
    shown_score: float

    @property
    def live_sources(self) -> int:
        """How many sources a live run would have; 0 where it is recorded."""
        return 1 if self.is_live else 0

    @property
    def lowest_score(self) -> float:
        """The score from which on detections are compared."""
        return _LOWER_SHARE * self.shown_score

    def disagreement(self, setting: Setting, *, min_agreement: float) -> str | None:
        """Why a setting does not detect what the start detects in the sampled frames, None if it does.

        min_agreement: the least share of detections that must agree. The same file in the same precision is held to the
        bar of fp32, all else to that of fp16. Raises a StreamdetError for a setting that cannot run.
        """
        config = with_keys(self.config, setting)
        _, spec = model_of(config)
        detections, (device, precision) = detections_in_sample(config, self.sample, score_threshold=self.lowest_score)
        is_same = "model" not in setting and precision == self.precision
        bar = replace(FP32_BAR if is_same else FP16_BAR, score_from=self.shown_score)
        parity = compare(
            detections,
            self.detections,
            bar,
            iou_threshold=suppression_options(config.detection, spec).iou_threshold if spec.needs_nms else None,
            max_detections=spec.max_detections,
        )
        return _doubt(parity, bar, min_agreement, needs_detections=not (is_same and device == self.device))


def start_of(config: RunConfig, models: Sequence[str]) -> Start:
    """The detections of a configuration in sampled frames.

    models: the files to try, the configuration's first. Raises ConfigError for models that know other classes, and a
    StreamdetError for a configuration that cannot run.
    """
    _, spec = checked_detector(config)
    for model in models[1:]:
        _, other = checked_detector(with_keys(config, {"model": model}))
        if other.class_names != spec.class_names:
            raise ConfigError(
                f"every --model must be another file of the same detector, {model} knows other classes than "
                f"{config.model}; use `streamdet compare` to choose between detectors"
            )
    sample = sample_of(config, _NUM_FRAMES, of_first=_OF_FIRST)
    score = suppression_options(config.detection, spec).score_threshold
    detections, (device, precision) = detections_in_sample(config, sample, score_threshold=_LOWER_SHARE * score)
    is_live = config.flow.mode == "live" or (config.flow.mode == "auto" and sample.is_of_live)
    return Start(config, spec, device, precision, is_live, sample, detections, score)


def _doubt(parity: Parity, bar: Bar, min_agreement: float, *, needs_detections: bool) -> str | None:
    if needs_detections and not parity.num_detections:
        return f"nothing is found in {parity.num_images} sampled frames, so that no agreement can be shown"
    if parity.matched_share >= min_agreement:
        return None
    return (
        f"only {parity.matched_share:.1%} of its detections agree with the defaults' (IoU {bar.least_iou:g}, score "
        f"within {bar.largest_score_difference:g}; --min-agreement is {min_agreement:.1%})"
    )
