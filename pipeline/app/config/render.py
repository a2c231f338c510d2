"""What is drawn: labels, scores, trails; and how: theme, colours, sizes, box style."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from pydantic import BeforeValidator, Field
from pydantic_core import PydanticCustomError

from pipeline.app.config.values import Section, names_as_text
from pipeline.app.options import Flag, comma_separated
from pipeline.meaning import Meaning
from pipeline.picture.choices import BoxStyle, ColourBy, ThemeName

if TYPE_CHECKING:
    from pipeline.picture.annotators import AnnotatorRequest
    from pipeline.picture.look import Look


def _annotators(value: object) -> object:
    """Names, of one word with commas too, or names with parameters: trace, or {trace: {thickness: 2}}."""
    entries = comma_separated(value, "render.annotators") if isinstance(value, str) else value
    if not isinstance(entries, list | tuple):
        raise PydanticCustomError("annotators", "must be a list of names, such as [trace, heatmap]")
    for entry in entries:
        parameters = entry.values() if isinstance(entry, dict) else [] if isinstance(entry, str) else [entry]
        if not all(isinstance(part, dict | None) for part in parameters) or entry in ("", {}):
            raise PydanticCustomError(
                "annotators", "must have names, or a name with its parameters, such as {trace: {thickness: 2}}"
            )
    return [
        {str(name): names_as_text(part or {}) for name, part in entry.items()} if isinstance(entry, dict) else entry
        for entry in entries
    ]


class RenderConfig(Section):
    """What is drawn."""

    labels: Annotated[bool, Meaning("Write the class above each box.")] = True
    scores: Annotated[bool, Meaning("Write the score behind the class.")] = True
    boxes: Annotated[bool, Meaning("Draw the box of each object.")] = True
    theme: Annotated[
        ThemeName,
        Flag(
            "How it all looks: colour-blind has colours that everyone can tell apart, soft tinted boxes with rounded "
            "corners, dark dark labels and corners instead of boxes, print dark lines and white labels for paper."
        ),
    ] = "plain"
    box_style: Annotated[
        BoxStyle | None, Flag("Draw whole boxes, their corners alone, or rounded ones; by default as the theme has it.")
    ] = None
    colour_by: Annotated[
        ColourBy, Flag("What has a colour of its own: a class, or, with --track, an object that is followed.")
    ] = "class"
    line_width: Annotated[
        Annotated[int, Field(ge=1, le=100)] | None,
        Flag("The width of lines in pixels; by default it grows with the picture, 3 on 1080p.", metavar="PIXELS"),
    ] = None
    text_size: Annotated[
        Annotated[int, Field(ge=6, le=300)] | None,
        Flag("The size of text in pixels; by default it grows with the picture, 20 on 1080p.", metavar="PIXELS"),
    ] = None
    annotators: Annotated[
        tuple[str | dict[str, dict[str, object]], ...],
        BeforeValidator(_annotators, json_schema_input_type=list[str | dict[str, dict[str, object]]] | str),
        Flag(
            "Draw with supervision's annotators as well, below boxes and labels: trace,heatmap; needs the extra "
            "supervision.",
            metavar="NAME,NAME…",
            typed=str,
            parse=comma_separated,
        ),
    ] = ()
    trail_s: Annotated[
        Annotated[float, Field(ge=0, le=60)], Meaning("Seconds of the way behind an object that is followed; 0: none.")
    ] = 1.5
    predicted: Annotated[
        bool, Meaning("Draw dashed where an object that is followed is supposed to be while it is not seen.")
    ] = True
    overlay: Annotated[
        bool | None,
        Flag(
            "Write FPS and latency over the picture; by default in the window, and in recordings of live sources.",
            ("--overlay/--no-overlay",),
        ),
    ] = None

    def look(self) -> Look:
        """How it is drawn."""
        from pipeline.picture.look import Look

        return Look(
            theme=self.theme,
            box_style=self.box_style,
            line_width=self.line_width,
            text_size=self.text_size,
            colour_by=self.colour_by,
        )

    def annotator_requests(self) -> tuple[AnnotatorRequest, ...]:
        """The annotators by name, with their parameters; a word has none."""
        from pipeline.picture.annotators import AnnotatorRequest

        return tuple(
            AnnotatorRequest(name, parameters)
            for entry in self.annotators
            for name, parameters in ({entry: {}} if isinstance(entry, str) else entry).items()
        )
