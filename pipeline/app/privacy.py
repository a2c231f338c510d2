"""Privacy of a run: a configuration and a model's spec → which classes are concealed, and what NMS must let through."""

from __future__ import annotations

from dataclasses import dataclass, replace

from pipeline.app.config.run import RunConfig
from pipeline.app.thresholds import class_ids_of
from pipeline.errors import ConfigError
from pipeline.picture.concealing import Manner
from pipeline.picture.detector_spec import DetectorSpec
from pipeline.picture.suppression import SuppressionOptions
from pipeline.stages.conceal import ConcealOptions

_MOST_DETECTIONS = 1000


@dataclass(frozen=True, slots=True)
class Privacy:
    """The private classes of a run, and the score from which on one of them is concealed."""

    options: ConcealOptions
    min_score: float

    @classmethod
    def of(cls, config: RunConfig, spec: DetectorSpec) -> Privacy | None:
        """None: nothing is private. Raises ConfigError for a class that the model lacks, and for one in two lists."""
        section = config.privacy
        lists: dict[Manner, tuple[str, ...]] = {"blur": section.blur, "pixelate": section.pixelate}
        manners: dict[int, Manner] = {}
        for manner, names in lists.items():
            for name in names:
                for class_id in class_ids_of(name, spec, f"privacy.{manner}"):
                    if manners.setdefault(class_id, manner) != manner:
                        raise ConfigError(f"privacy: {name} must be in one of blur and pixelate, got it in both")
        if not manners:
            return None
        if config.detection.suppression == "class-agnostic":
            raise ConfigError(
                "detection.suppression must not be class-agnostic with --blur or --pixelate, because a better box of "
                "another class would uncover a private one; set detection.suppression=class-aware"
            )
        options = ConcealOptions(manners, section.margin, section.hold_s, _MOST_DETECTIONS)
        return cls(options, section.min_score)

    def widened(self, options: SuppressionOptions) -> SuppressionOptions:
        """What NMS lets through: also private classes that nobody requested, and unsure boxes of them."""
        private = list(self.options.manners)
        own = {class_id: options.class_thresholds.get(class_id, options.score_threshold) for class_id in private}
        lowered = {class_id: min(threshold, self.min_score) for class_id, threshold in own.items()}
        return replace(
            options,
            class_thresholds={**options.class_thresholds, **lowered},
            keep_class_ids=None if options.keep_class_ids is None else options.keep_class_ids | set(private),
            max_detections=max(options.max_detections, self.options.most_detections),
        )
