"""A source with settings of its own, or one word."""

from __future__ import annotations

from functools import partial
from typing import Annotated

from pydantic import BeforeValidator, Discriminator, Field, Tag

from pipeline.app.config.counting import NO_SHAPES, GroundRows, Lines, Zones
from pipeline.app.config.detection import DetectionConfig
from pipeline.app.config.hints import HintsConfig
from pipeline.app.config.values import Section, Share, as_class_words, checked
from pipeline.errors import without_controls


def _refuse_unprintable(name: str) -> None:
    if name != without_controls(name).strip():
        raise ValueError("must have no control characters, and no blank at its beginning or end")


class SourceConfig(Section):
    """A source with settings of its own; what is left out is that of the run."""

    url: Annotated[str, Field(min_length=1)]
    detect_url: Annotated[str, Field(min_length=1)] | None = (
        None  # a smaller stream of the same camera, for the network
    )
    name: Annotated[str, Field(min_length=1, max_length=100), checked(_refuse_unprintable)] | None = None
    # in outputs, reports and file names
    weight: Annotated[float, Field(gt=0, le=1000)] = 1.0  # of 2: twice the share of a network that cannot keep up
    classes: (
        Annotated[
            tuple[str, ...],
            BeforeValidator(partial(as_class_words, key="classes"), json_schema_input_type=list[str | int] | str),
        ]
        | None
    ) = None
    score_threshold: Share | None = None
    model: Annotated[str, Field(min_length=1)] | None = None  # as --model; sources of one model share its sessions
    hints: HintsConfig | None = None  # on the file of its model, as the run's are on that of the run
    isolate: bool | None = None  # whether a process of its own reads it
    lines: Lines = NO_SHAPES  # beside those of the run, or, with the name of one, in its place
    zones: Zones = NO_SHAPES
    homography: GroundRows | None = None

    @property
    def has_own_detection(self) -> bool:
        """Whether its detections are chosen otherwise than those of the run."""
        return self.classes is not None or self.score_threshold is not None

    def detection(self, of_run: DetectionConfig) -> DetectionConfig:
        """Which of its detections are kept."""
        own = {"classes": self.classes, "score_threshold": self.score_threshold}
        return of_run.model_copy(update={key: value for key, value in own.items() if value is not None})


WORD_FORM, SETTINGS_FORM = (
    "a word",
    "its settings",
)  # the forms of a source, which pydantic puts into the place of an error


def _form_of_source(value: object) -> str:
    return SETTINGS_FORM if isinstance(value, dict | SourceConfig) else WORD_FORM


SourceEntry = Annotated[
    Annotated[str, Tag(WORD_FORM)] | Annotated[SourceConfig, Tag(SETTINGS_FORM)], Discriminator(_form_of_source)
]
