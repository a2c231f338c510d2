"""A whole run: all sections of its settings → a checked RunConfig."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pipeline.app.config.counting import NO_SHAPES, CountingConfig, GroundRows, Lines, Zones
from pipeline.app.config.detection import DetectionConfig
from pipeline.app.config.engine import EngineConfig
from pipeline.app.config.events import EventsConfig
from pipeline.app.config.flow import FlowConfig
from pipeline.app.config.gate import GateConfig
from pipeline.app.config.hints import HintsConfig
from pipeline.app.config.output import OutputConfig
from pipeline.app.config.privacy import PrivacyConfig
from pipeline.app.config.render import RenderConfig
from pipeline.app.config.source import SourceConfig, SourceEntry
from pipeline.app.config.then import ThenConfig
from pipeline.app.config.tiles import TilesConfig
from pipeline.app.config.track import TrackConfig
from pipeline.app.config.values import Section
from pipeline.app.options import OR_NAME, Argument, Flag, named_values
from pipeline.meaning import Meaning
from pipeline.sources.kinds import kinds_in_words
from pipeline.sources.options import CameraOptions, DecodeOptions, NetworkOptions


class RunConfig(Section):
    """A whole run."""

    sources: Annotated[
        tuple[SourceEntry, ...],
        Argument(f"One or several of: {kinds_in_words()}.", "SOURCE...", typed=list[str]),
    ] = ()
    model: Annotated[
        str | None,
        Flag(
            f"An ONNX file, {OR_NAME}, which is downloaded once; demo: the detector that comes with streamdet, which "
            "knows drawn streets only.",
            ("--model", "-m"),
            metavar="MODEL",
        ),
    ] = None
    strict: Annotated[
        bool | None,
        Flag(
            "Exit with 1 if a part of a source could not be read, or a frame not be sent; with --no-strict, go on "
            "after a frame whose scores or boxes are NaN or infinite, which otherwise is an error.",
            ("--strict/--no-strict",),
        ),
    ] = None
    control: Annotated[
        str | None,
        Flag(
            "Listen at this socket to `streamdet ctl`, which adds and removes sources; the run goes on until stopped.",
            metavar="SOCKET",
        ),
    ] = None
    serve: Annotated[
        str | None,
        Flag(
            "Show the run in a browser, on this machine alone unless a host is named, which then needs the token that "
            "is printed; needs the extra serve.",
            metavar="[HOST:]PORT",
        ),
    ] = None
    lines: Annotated[
        Lines,
        Flag(
            "Count what crosses a line, in and out, in shares of the picture or in pixels: gate=0,0.5,1,0.5; "
            "repeatable.",
            ("--line",),
            metavar="NAME=X1,Y1,X2,Y2",
            typed=list[str],
            parse=lambda words, flag: named_values(words, flag, "gate=0,0.5,1,0.5"),
        ),
    ] = NO_SHAPES
    zones: Annotated[
        Zones,
        Flag(
            "Count what is in a polygon, comes and goes, and for how long it stays: yard=0,0.5,1,0.5,1,1,0,1; "
            "repeatable.",
            ("--zone",),
            metavar="NAME=X1,Y1,X2,Y2,X3,Y3…",
            typed=list[str],
            parse=lambda words, flag: named_values(words, flag, "yard=0,0.5,1,0.5,1,1,0,1"),
        ),
    ] = NO_SHAPES
    homography: Annotated[
        GroundRows | None,
        Meaning("Four points of the picture and where they are on the ground, as x, y, X and Y in metres, for speeds."),
    ] = None
    hints: HintsConfig = HintsConfig()
    detection: DetectionConfig = DetectionConfig()
    track: TrackConfig = TrackConfig()
    counting: CountingConfig = CountingConfig()
    gate: GateConfig = GateConfig()
    tiles: TilesConfig = TilesConfig()
    then: ThenConfig = ThenConfig()
    privacy: PrivacyConfig = PrivacyConfig()
    engine: EngineConfig = EngineConfig()
    flow: FlowConfig = FlowConfig()
    camera: CameraOptions = CameraOptions()
    decode: DecodeOptions = DecodeOptions()
    network: NetworkOptions = NetworkOptions()
    render: RenderConfig = RenderConfig()
    output: OutputConfig = OutputConfig()
    events: EventsConfig = EventsConfig()
    _file: Path | None = None

    @property
    def source_configs(self) -> tuple[SourceConfig, ...]:
        """The sources, with the settings that each has of its own."""
        # Not validated again: a file's name need not be valid UTF-8, which pydantic's checks of a text's length need.
        return tuple(
            SourceConfig.model_construct(url=source) if isinstance(source, str) else source for source in self.sources
        )

    @property
    def source_words(self) -> tuple[str, ...]:
        """The sources as words."""
        return tuple(source if isinstance(source, str) else source.url for source in self.sources)

    @property
    def file(self) -> Path | None:
        """The file that it was read from, beside what the command line says; None without one."""
        return self._file

    def without_gate(self) -> RunConfig:
        """The same run whose network looks at every frame, as all do that judge a model."""
        return self.model_copy(update={"gate": GateConfig()})

    def without_outputs(self) -> RunConfig:
        """The same run that writes and shows nothing, whatever outputs there are."""
        return self.model_copy(update={"output": OutputConfig(show=False), "events": EventsConfig(), "serve": None})
