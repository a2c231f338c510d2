"""Model hints: the `hints` section of a configuration → the hints with which a foreign model file is recognised."""

from __future__ import annotations

import errno
from pathlib import Path

from pipeline.app.config.hints import HintsConfig
from pipeline.app.options import size
from pipeline.detector.heads.hints import Hints
from pipeline.detector.heads.ssd_readings import read_anchors
from pipeline.detector.recognise import recognise
from pipeline.errors import ConfigError, ModelError, reason_of
from pipeline.picture.detector_spec import DetectorSpec, pack_anchors
from pipeline.text_file import read_text


def hints_of(section: HintsConfig) -> Hints:
    """The hints of a configuration. Raises ConfigError for class names that cannot be read."""
    return Hints(
        head=section.head,
        network_wh=None if section.size is None else size(section.size, "hints.size"),
        resize=section.resize,
        colour=section.colour,
        mean=section.mean,
        std=section.std,
        pad_value=section.pad_value,
        box_format=section.box_format,
        boxes_are_normalised=section.normalised_boxes,
        score_activation=section.scores,
        first_class_id=section.first_class_id,
        columns=section.columns,
        class_names=None if section.class_names is None else read_class_names(Path(section.class_names)),
        anchors=None if section.anchors is None else _anchors_file(section.anchors),
    )


def recognised(path: Path, hints: Hints) -> DetectorSpec:
    """The detector in a file. Raises ModelError for a file that is none, and for anchors or columns without a use."""
    spec = recognise(path, hints)
    anchors = "" if hints.anchors is None else pack_anchors(read_anchors(hints.anchors)[:, [1, 0, 3, 2]])
    for option, hint, value in (("--anchors", anchors, spec.anchors), ("--columns", hints.columns or (), spec.columns)):
        if hint and hint != value:
            why = f"its metadata has others of head {spec.head}" if value else f"head {spec.head} has none"
            raise ModelError(f"{option} has no effect on {path}: {why}; leave it out")
    return spec


def read_class_names(path: Path, option: str = "--class-names") -> tuple[str, ...]:
    """The class names of a text file, one a line, empty lines at the end left out.

    Raises ConfigError for a file that cannot be read or names nothing.
    """
    try:
        names = tuple(line.strip() for line in read_text(path).rstrip().splitlines())
    except (OSError, UnicodeDecodeError) as error:
        reason = reason_of(error)
        raise ConfigError(f"{option} must be a text file with one name per line, got {path}: {reason}") from error
    if not names or not all(names):
        raise ConfigError(f"{path} must have a class name in each line, {'none' if not names else 'one is empty'}")
    return names


def _anchors_file(word: str) -> Path:
    path = Path(word)
    try:
        if path.exists() and not path.is_file():
            raise OSError(errno.EINVAL, "it is not a regular file")
        with path.open("rb") as file:
            reason = None if file.read(6) == b"\x93NUMPY" else "it does not begin like one"
    except (OSError, ValueError) as error:
        reason = reason_of(error)
    if reason is not None:
        raise ConfigError(f"--anchors must be a .npy file, got {word}: {reason}")
    return path
