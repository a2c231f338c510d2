"""What does a user say about a foreign model file?"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pipeline.app.config import HintsConfig, load_config
from pipeline.detector.heads.claims import Hints
from pipeline.detector.heads.ssd import read_anchors
from pipeline.detector.recognise import recognise
from pipeline.errors import ConfigError, ModelError, reason_of
from pipeline.picture.detector_spec import DetectorSpec, pack_anchors
from pipeline.text_file import read_text


def hints_of(section: HintsConfig) -> Hints:
    """The hints of a configuration. Raises ConfigError for class names that cannot be read."""
    return Hints(
        head=section.head,
        network_wh=None if section.size is None else size_of(section.size),
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


def hints_from_options(options: Mapping[str, Any]) -> Hints:
    """The hints of a command line. Raises ConfigError for values that cannot be."""
    return hints_of(load_config(options=options).hints)


def triple_of(text: str | None, option: str) -> tuple[float, float, float] | None:
    """Three numbers with commas between them, or one for all three. Raises ConfigError for anything else."""
    if text is None:
        return None
    try:
        numbers = [float(each) for each in text.split(",")]
    except ValueError:
        numbers = []
    if len(numbers) not in (1, 3) or not all(map(math.isfinite, numbers)):
        raise ConfigError(f"{option} must be one number or three with commas, such as 123.7,116.3,103.5, got {text!r}")
    first, second, third = numbers * 3 if len(numbers) == 1 else numbers
    return first, second, third


def words_of(text: str, option: str, *, such_as: str) -> tuple[str, ...]:
    """Words with commas between them, blanks around them left out. Raises ConfigError where there is none."""
    words = tuple(each.strip() for each in text.split(",") if each.strip())
    if not words:
        raise ConfigError(f"{option} must name at least one, such as {such_as}, got {text!r}")
    return words


def recognised(path: Path, hints: Hints) -> DetectorSpec:
    """The detector in a file. Raises ModelError for what is none, and for anchors or columns that it has no use for."""
    spec = recognise(path, hints)
    anchors = "" if hints.anchors is None else pack_anchors(read_anchors(hints.anchors)[:, [1, 0, 3, 2]])
    for option, told, said in (("--anchors", anchors, spec.anchors), ("--columns", hints.columns or (), spec.columns)):
        if told and told != said:
            why = f"its metadata has others of head {spec.head}" if said else f"head {spec.head} has none"
            raise ModelError(f"{option} cannot be heeded by {path}: {why}; leave it out")
    return spec


def size_of(text: str, option: str = "--size") -> tuple[int, int]:
    """Width and height of WIDTHxHEIGHT. Raises ConfigError, which names the option, for anything else."""
    width, _, height = text.lower().partition("x")
    if not (width.isdecimal() and height.isdecimal() and int(width) and int(height)):
        raise ConfigError(f"{option} must be WIDTHxHEIGHT, such as 640x384, got {text!r}")
    return int(width), int(height)


def read_class_names(path: Path) -> tuple[str, ...]:
    """The class names of a text file, one a line, empty lines at the end left out.

    Raises ConfigError for a file that cannot be read or names nothing.
    """
    try:
        names = tuple(line.strip() for line in read_text(path).rstrip().splitlines())
    except (OSError, UnicodeDecodeError) as error:
        reason = reason_of(error)
        raise ConfigError(f"--class-names must be a text file with a name a line, got {path}: {reason}") from error
    if not names or not all(names):
        raise ConfigError(f"{path} must have a class name in each line, {'none' if not names else 'one is empty'}")
    return names


def _anchors_file(word: str) -> Path:
    path = Path(word)
    try:
        with path.open("rb") as file:
            reason = None if file.read(6) == b"\x93NUMPY" else "it does not begin like one"
    except OSError as error:
        reason = reason_of(error)
    if reason is not None:
        raise ConfigError(f"--anchors must be a .npy file, got {word}: {reason}")
    return path
