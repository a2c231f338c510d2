"""Suppression of a run: a configuration and the spec of one of its models → what NMS applies to each source."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from pipeline.app.config.detection import DetectionConfig
from pipeline.app.config.run import RunConfig
from pipeline.app.config.source import SourceConfig
from pipeline.app.privacy import Privacy
from pipeline.app.thresholds import class_ids_of, suppression_of_sources, suppression_options, tracked_options
from pipeline.errors import ConfigError
from pipeline.flow.stage import Stage
from pipeline.picture.detections import Result
from pipeline.picture.detector_spec import DetectorSpec
from pipeline.picture.suppression import SuppressionOptions
from pipeline.stages.nms import Nms
from pipeline.stages.tiles import MergeTiles


class HasScoreThreshold(Protocol):
    """The stage before NMS, which leaves out what NMS would."""

    score_threshold: float


class Suppression:
    """What NMS applies: the same to all sources of a model, or to each what its own settings say.

    settings: of the sources that have any. takes_sources: whether others may come later, or the settings may change.
    model: its name in errors, where there are several. Raises ConfigError for a class that the model does not know.
    """

    def __init__(
        self,
        config: RunConfig,
        spec: DetectorSpec,
        settings: Mapping[str, SourceConfig],
        *,
        takes_sources: bool = False,
        model: str = "",
    ) -> None:
        self._track, self._is_tiled = config.track, config.tiles.grid is not None
        self.spec = spec
        self._prefix = f"{model}: " if model else ""
        self._names_own_classes = bool(
            model and settings and all(entry.classes is not None for entry in settings.values())
        )
        self._settings = {name: entry for name, entry in settings.items() if entry.has_own_detection}
        self._detect: HasScoreThreshold | None = None
        self.privacy = Privacy.of(config, spec)
        self.is_per_source = bool(self._settings) or takes_sources
        self._apply(config.detection)

    def _apply(self, requested: DetectionConfig) -> None:
        detection = requested.model_copy(update={"classes": ()}) if self._names_own_classes else requested
        of_run = suppression_options(detection, self.spec, prefix=self._prefix)
        of_sources = suppression_of_sources(requested, self._settings, self.spec)
        self.requested, self.detection, self.of_run, self._shown = requested, detection, of_run, of_sources
        self.lowest_score_threshold = min(
            self._let_through(options).lowest_score_threshold for options in (of_run, *of_sources.values())
        )
        if self._detect is not None:
            self._detect.score_threshold = self.lowest_score_threshold
        self.of_all = self._stage(of_run)
        self._of_sources = {name: self._stage(options) for name, options in of_sources.items()}

    def class_names(self) -> list[str]:
        """The classes of the run that are kept, by the names that the model has for them; none: all."""
        spec = self.spec
        ids = [id_ for word in self.detection.classes for id_ in class_ids_of(word, spec, "detection.classes")]
        return list(dict.fromkeys(spec.class_names[class_id] for class_id in ids))

    def change(self, detection: DetectionConfig) -> None:
        """Apply other settings from the next frame on; those that a source has of its own stay.

        Raises ConfigError for a class that the model does not know; then nothing changes.
        """
        assert self.is_per_source
        self._apply(detection)

    def take_effect_in(self, detect: HasScoreThreshold) -> None:
        """Let `change` lower the threshold of the stage before NMS, too."""
        self._detect = detect

    def nms_of(self, source_id: str) -> Stage[Any, Result]:
        """The stage that a source has now."""
        return self._of_sources.get(source_id, self.of_all)

    def shown_of(self, source_id: str) -> SuppressionOptions:
        """Which detections of a source are shown; where something is tracked, NMS keeps weaker ones as well."""
        return self._shown.get(source_id, self.of_run)

    def kept_of(self, source_id: str) -> SuppressionOptions:
        """Which detections of a source go on to the tracker, or are shown where nothing is tracked."""
        return tracked_options(self._track, self.shown_of(source_id))

    def _let_through(self, shown: SuppressionOptions) -> SuppressionOptions:
        kept = tracked_options(self._track, shown)
        return kept if self.privacy is None else self.privacy.widened(kept)

    def _stage(self, shown: SuppressionOptions) -> Stage[Any, Result]:
        options = self._let_through(shown)
        return MergeTiles(self.spec, options) if self._is_tiled else Nms(self.spec, options)

    def refuse(self, entry: SourceConfig) -> None:
        """Raise ConfigError for a source that the run cannot take: the network gives nothing below its threshold."""
        if not entry.has_own_detection:
            return
        if not self.is_per_source:
            raise ConfigError("sources with classes or thresholds of their own can be added to a run with --control")
        options = self._let_through(suppression_options(entry.detection(self.requested), self.spec))
        if options.lowest_score_threshold < self.lowest_score_threshold:
            raise ConfigError(
                f"score_threshold must be at least {self.lowest_score_threshold:g}, the lowest of the run when it "
                f"began, got {options.lowest_score_threshold:g}"
            )

    def keep(self, source_id: str, entry: SourceConfig) -> None:
        """Apply the settings of a source that comes, in place of those of an earlier one of its name."""
        self._settings.pop(source_id, None)
        if entry.has_own_detection:
            self._settings[source_id] = entry
        self._apply(self.requested)
