"""Second model of a run: the configuration of --then → an open classifier, and the classes of objects it looks at."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from pipeline.app.class_names import some_of
from pipeline.app.config.run import RunConfig
from pipeline.app.config.then import ThenConfig
from pipeline.app.machine import available_cores
from pipeline.app.model_hints import read_class_names
from pipeline.app.options import size
from pipeline.app.privacy import Privacy
from pipeline.app.thresholds import class_ids_of
from pipeline.detector.classifier import Classifier, ClassifierHints, open_classifier
from pipeline.detector.published import published_model
from pipeline.errors import ConfigError, ModelError
from pipeline.picture.detector_spec import DetectorSpec
from pipeline.stages.classify import ClassifyOptions

_MOST_THREADS = 4  # the detector has the others


def open_second_model(then: ThenConfig) -> tuple[Classifier, ClassifyOptions]:
    """The classifier of a configuration that has one, and what is kept of its scores.

    Raises ModelError for a file that is not a classifier, ConfigError for settings of its that cannot be read.
    """
    word = then.model or ""
    if published_model(word) is not None:
        raise ModelError(f"--then needs a classifier, {word} is a detector; run it with --model {word}")
    hints = ClassifierHints(
        network_wh=None if then.size is None else size(then.size, "then.size"),
        mean=then.mean,
        std=then.std,
        colour=then.colour,
        resize=then.resize,
        class_names=None if then.class_names is None else read_class_names(Path(then.class_names), "then.class_names"),
        scores=then.scores,
    )
    threads = max(1, min(available_cores() // 2, _MOST_THREADS))
    classifier = open_classifier(Path(word), hints, threads=threads)
    return classifier, ClassifyOptions(classifier.spec.class_names, then.top, then.min_score, then.every)


def classified_ids(config: RunConfig, spec: DetectorSpec) -> frozenset[int]:
    """The classes of a first model that the second looks at, by id: the requested ones, by default all, but none that
    is private, because its pictures are concealed before. Empty: the model has none of them.
    """
    private = _private_ids(config, spec)
    if not config.then.classes:
        return frozenset(range(len(spec.class_names))) - private
    return frozenset(class_id for name in config.then.classes for class_id in _ids_of(name, spec)) - private


def refuse_second_model(config: RunConfig, specs: Sequence[DetectorSpec]) -> None:
    """Raise ConfigError for settings of --then that contradict each other, the first models, or what is private."""
    then = config.then
    if then.model is None:
        if then.classes:
            raise ConfigError("--then-on is for --then, which is missing: add --then CLASSIFIER.onnx, or leave it out")
        if then != ThenConfig():
            raise ConfigError("then.model must name the second model that the other keys of then are about")
        return
    if (then.mean is None) != (then.std is None):
        raise ConfigError("then.mean and then.std must be set both, got one of them")
    for name in then.classes:
        if not any(_ids_of(name, spec) for spec in specs):
            class_ids_of(name, specs[0], "then.classes")  # which says what there is
    for spec in specs:
        concealed = _private_ids(config, spec) & frozenset(i for name in then.classes for i in _ids_of(name, spec))
        if concealed:
            names = some_of([spec.class_names[class_id] for class_id in sorted(concealed)])
            raise ConfigError(
                f"--then-on {names}: what is concealed by --blur or --pixelate cannot be looked at by --then; "
                "leave one of them out"
            )


def _ids_of(name: str, spec: DetectorSpec) -> frozenset[int]:
    try:
        return frozenset(class_ids_of(name, spec, "then.classes"))
    except ConfigError:  # a class of another of the run's models
        return frozenset()


def _private_ids(config: RunConfig, spec: DetectorSpec) -> frozenset[int]:
    privacy = Privacy.of(config, spec) if config.privacy.is_requested else None
    return frozenset() if privacy is None else frozenset(privacy.options.manners)
