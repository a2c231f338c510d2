"""Result of recognising: the readings that were accepted and refused → the one spec, or an error if none or several.

Where several readings remain, the file is ambiguous, and the error names the flags that settle it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import accumulate, takewhile

from pipeline.detector.facts import ModelFacts
from pipeline.detector.heads.hints import FLAGS
from pipeline.errors import ModelError
from pipeline.picture.detector_spec import DetectorSpec

Refusal = tuple[DetectorSpec, str]
"""A reading, and what speaks against it."""
_LONGEST_REASONS = 170  # characters in one error; `inspect --why` shows the others


@dataclass(frozen=True, slots=True)
class Recognition:
    """The readings of a file, and why others were refused."""

    facts: ModelFacts
    accepted: tuple[DetectorSpec, ...]  # exactly one where the file can be run
    refused: tuple[str, ...]  # claims that the pictures did not bear out: what, and why not
    near_misses: tuple[str, ...]  # conventions that fit in part
    far_misses: tuple[str, ...]  # conventions that do not fit
    kind: str | None = None  # what it seems to be instead of a detector
    objections: tuple[str, ...] = ()  # `refused` in short

    def spec(self) -> DetectorSpec:
        """The one reading. Raises ModelError, with what was seen and the flags that settle it."""
        if len(self.accepted) == 1:
            return self.accepted[0]
        if self.accepted:
            readings = "; or ".join(_few(_differences(self.accepted), at_least=2))
            settled_by = _flags(self.accepted) or "outputs whose names say which are boxes, class ids and scores"
            raise ModelError(
                f"{self.facts.path} is ambiguous, it can be read in {len(self.accepted)} ways: {readings}. Settle it "
                f"with {settled_by}, and `streamdet adopt` writes the choice into a copy"
            )
        with_a_way_out = sorted((*self.objections, *self.near_misses), key=lambda reason: "--" not in reason)
        reasons = "; ".join(
            _few([*filter(None, (self.kind,)), *with_a_way_out]) or ("no convention of streamdet has such outputs",)
        )
        raise ModelError(
            f"{self.facts.path}: not recognised: {reasons}. Name it with --head and other hints "
            f"(--columns, --box-format, --normalised-boxes, --first-class-id, --scores) ({self.facts.outputs_in_words})"
        )


def _few(reasons: Sequence[str], at_least: int = 1) -> list[str]:
    """The first reasons, as many as fit into a line."""
    every = list(dict.fromkeys(reasons))
    fitting = sum(length <= _LONGEST_REASONS for length in accumulate(map(len, every)))
    shown = every[: max(at_least, fitting)]
    more = len(every) - len(shown)
    return [*shown, *([f"{more} more, see `inspect --why`"] if more > 0 else [])]


def _differences(specs: Sequence[DetectorSpec]) -> list[str]:
    """The readings in words, one of each head first; how all of them begin is said once, what all have alike not."""
    are_prepared_alike = len({_prepared(spec) for spec in specs}) == 1
    firsts = {spec.head: spec for spec in reversed(specs)}
    ordered = sorted(specs, key=lambda spec: spec is not firsts[spec.head])
    words = [spec.provenance[0] if are_prepared_alike else reading_in_words(spec) for spec in ordered]
    num_alike = sum(1 for _ in takewhile(lambda letters: len(set(letters)) == 1, zip(*words, strict=False)))
    alike = words[0][:num_alike]
    start = max((alike.rfind(mark) + len(mark) for mark in (", ", ": ") if mark in alike), default=0)
    return [words[0], *(reading[start:] for reading in words[1:])]


def grouped(refused: Sequence[Refusal], in_words: Callable[[DetectorSpec], str]) -> tuple[str, ...]:
    """Each objection once for a head, with the first of the readings that it is raised against."""
    groups: dict[tuple[str, tuple[str, ...], str], list[DetectorSpec]] = {}
    for spec, objection in refused:
        groups.setdefault((spec.head, spec.outputs, objection), []).append(spec)
    return tuple(
        f"{in_words(specs[0])}{_and_more(len(specs) - 1)}, but {objection}"
        for (_, _, objection), specs in groups.items()
    )


def _and_more(num: int) -> str:
    return f" and {num} more reading{'s' if num > 1 else ''}" if num else ""


def reading_in_words(spec: DetectorSpec) -> str:
    """A reading in one line: what it was taken for, and how pictures are prepared."""
    return f"{spec.provenance[0]} ({_prepared(spec)})"


def _prepared(spec: DetectorSpec) -> str:
    pixels = "as they are" if spec.dtype == "uint8" else f"({_as_typed(spec.mean)}; {_as_typed(spec.std)})"
    return f"{spec.colour.upper()} {pixels}, {spec.resize}"


def _flags(specs: Sequence[DetectorSpec]) -> str:
    """The flags in which readings differ; where their heads do, the others are those within a head."""
    heads = tuple(dict.fromkeys(spec.head for spec in specs))
    if len(heads) > 1:
        within = [_flags([spec for spec in specs if spec.head == head]) for head in heads]
        return ", ".join(dict.fromkeys((f"--head {'|'.join(heads)}", *filter(None, within))))
    names = ("colour", "resize", "mean", "std", "score_activation", "box_format", "columns", "first_class_id")
    differing = [
        f"{FLAGS[name]} {'|'.join(dict.fromkeys(_as_typed(getattr(spec, name)) for spec in specs))}"
        for name in names
        if len({getattr(spec, name) for spec in specs}) > 1
    ]
    if len({spec.boxes_are_normalised for spec in specs}) > 1:
        differing.append(FLAGS["boxes_are_normalised"])
    return ", ".join(differing)


def _as_typed(value: object) -> str:
    if isinstance(value, tuple):
        return ",".join(item if isinstance(item, str) else f"{item:g}" for item in value)
    return str(value)
