"""Foreign words: what users of other tools type → one line that says what it is called in streamdet."""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Mapping, Sequence

_SCORE, _IOU, _SIZE = "type --score-threshold X", "type --iou-threshold X", "type --size N or --size WIDTHxHEIGHT"
_MODEL, _VIDEO = "type --model FILE", "type -o FILE.mp4 to record the video"
_FLAGS: Mapping[str, str] = {
    "--source": "a source is typed without a flag: streamdet run street.mp4",
    **dict.fromkeys(("--weights", "--model-path", "--checkpoint"), _MODEL),
    **dict.fromkeys(("--conf-thres", "--confidence", "--threshold", "--conf-threshold"), _SCORE),
    **dict.fromkeys(("--iou-thres", "--nms", "--nms-threshold"), _IOU),
    **dict.fromkeys(("--img", "--img-size", "--input-size", "--resolution"), _SIZE),
    **dict.fromkeys(("--half", "--fp16"), "type --precision fp16, which openvino and tensorrt offer"),
    **dict.fromkeys(("--save", "--save-vid", "--project", "--name"), _VIDEO),
    **dict.fromkeys(("--save-txt", "--save-conf"), "type --labels yolo=FOLDER"),
    **dict.fromkeys(("--view-img", "--display"), "type --show"),
    "--vid-stride": "type --every N",
    "--max-det": "type --set detection.max_detections=N",
    "--agnostic-nms": "type --set detection.suppression=class-agnostic",
    "--gpu": "type --device cuda",
}
_COMMANDS: Mapping[str, str] = {
    **dict.fromkeys(("predict", "detect", "track", "infer", "stream"), "run"),
    **dict.fromkeys(("val", "validate", "evaluate", "test"), "eval"),
    **dict.fromkeys(("benchmark", "profile"), "bench"),
    **dict.fromkeys(("info", "show"), "inspect"),
    **dict.fromkeys(("checks", "check"), "doctor"),
    **dict.fromkeys(("settings", "cfg"), "config"),
    "quantise": "quantize",
    "convert": "export",
}
_NAMES_BEFORE_EQUALS = {"source": "", "conf": "--conf", "iou": "--iou", "imgsz": "--size", "model": "--model"} | {
    name: f"--{name}" for name in ("device", "classes", "show")
}


def command_hint(word: str) -> str | None:
    """What a command of another tool is called; None for a word that no other tool has."""
    return f"did you mean 'streamdet {_COMMANDS[word]}'?" if word in _COMMANDS else None


def option_hint(words: Sequence[str], flags: Collection[str]) -> str | None:
    """What the first foreign word of a command line means, in one line; None where there is none.

    flags: those of the command, with their dashes; a word that is one of them is not foreign.
    """
    for number, word in enumerate(words):
        if word == "--":
            return None
        follows_flag = number > 0 and words[number - 1].startswith("-")
        hint = _flag_hint(word, words[number + 1 : number + 2], flags) or (
            None if follows_flag else _assignment_hint(word, flags)
        )
        if hint is not None:
            return hint
    return None


def _flag_hint(word: str, following: Sequence[str], flags: Collection[str]) -> str | None:
    name, equals, value = word.partition("=")
    if name in _FLAGS and name not in flags and _can_follow(_FLAGS[name], flags):
        return f"there is no option {name}; {_FLAGS[name]}"
    size = value if equals else "".join(following)
    if name == "--imgsz" and name in flags and not size.isdecimal():
        return (
            f"--imgsz must be one number, such as 640, got {size!r}; for another shape type --size WIDTHxHEIGHT, "
            "with the width first, which other tools have second"
        )
    return None


def _can_follow(hint: str, flags: Collection[str]) -> bool:
    """Whether the command has every flag that a hint names."""
    return set(re.findall(r"(?<!\S)--?[a-z][a-z-]*", hint)) <= set(flags)


def _assignment_hint(word: str, flags: Collection[str]) -> str | None:
    name, equals, value = word.partition("=")
    if not equals or name not in _NAMES_BEFORE_EQUALS or os.path.exists(word):  # noqa: PTH110 - of any text
        return None
    flag = _NAMES_BEFORE_EQUALS[name]
    if not flag:
        return f"a source is typed as it is, without source=, got {word!r}"
    return f"options are typed with dashes, such as {flag} {value or 'X'}, got {word!r}" if flag in flags else None
