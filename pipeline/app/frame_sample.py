"""Frame sample: a configuration → sampled frames of its one source, and its detections in them."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack

from pipeline.app.assemble import assemble
from pipeline.app.config.loading import with_keys
from pipeline.app.config.run import RunConfig
from pipeline.app.opened_sources import open_sources
from pipeline.errors import ConfigError
from pipeline.flow.running import Running
from pipeline.measure.sampling import Sample, take_sample
from pipeline.picture.detections import Detections
from pipeline.sources.source import HasGroundTruth


def sample_of(config: RunConfig, num_frames: int, *, of_first: int | None = None, refuses_live: bool = False) -> Sample:
    """`num_frames` frames of a configuration's one source, of its first `of_first` and its flow.max_frames.

    Raises a StreamdetError for a source that cannot be opened or read twice, that never ends, or is live where that is
    refused.
    """
    (word,) = config.source_words
    if word == "-":
        raise ConfigError("the source is read several times, which stdin does not allow; save it as a file")
    with ExitStack() as undo:
        (source,) = open_sources(config, undo).values()
        if refuses_live and source.is_live:
            raise ConfigError(
                f"--on must be a recorded source, {source.source_id} is live; record it first, with `run --output`"
            )
        most = None if config.flow.max_frames is None else config.flow.every * config.flow.max_frames
        limit = min((bound for bound in (of_first, most) if bound is not None), default=None)
        if limit is None and not source.is_live and isinstance(source, HasGroundTruth) and source.num_frames is None:
            raise ConfigError(f"{word} must end: give it seconds=20, or --set flow.max_frames=600")
        return take_sample(source, num_frames, of_first=limit)


def detections_in_sample(
    config: RunConfig, sample: Sample, *, score_threshold: float, on_frame: Callable[[], None] = lambda: None
) -> tuple[list[Detections], tuple[str, str]]:
    """The detections of a configuration in sampled frames, run through the pipeline; and its device and precision.

    on_frame: called after each frame.
    """
    changes = {
        "flow.mode": "every-frame",
        "flow.rate_fps": None,
        "flow.every": 1,  # they have been chosen
        "flow.max_frames": None,
        "detection.score_threshold": score_threshold,
    }
    assembly = assemble(with_keys(config, changes).without_outputs().without_gate(), source=sample)
    with ExitStack() as stack:
        stack.callback(assembly.engine.close)
        running = stack.enter_context(Running(assembly.flow, results=True))
        detections = []
        for result in running:
            detections.append(result.detections)
            on_frame()
    return detections, (assembly.engine.device, assembly.engine.precision)
