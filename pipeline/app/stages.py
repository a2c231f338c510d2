"""Stages: a table of the steps between sources and outputs, with everything that is said about each.

Sources, preprocessing, detection, suppression and rendering get their places from `assemble` and `outputs`. A stage
that takes results and gives results, such as a tracker, needs a row with `add` and stands behind suppression.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from pipeline.app.config import RunConfig
from pipeline.flow.graph import Flow
from pipeline.picture.detections import Result


@dataclass(frozen=True, slots=True)
class StageKind:
    """A step of a run: the role of its nodes, and what reports and charts say about it."""

    role: str
    advice: str  # completes "Limited by …: "
    colour: str  # in charts, #rrggbb
    add: Callable[[Flow[Result], RunConfig], Flow[Result]] | None = None  # behind suppression, where requested


SOURCE = StageKind(
    role="source", advice="give it smaller pictures, or a codec that is cheaper to decode", colour="#4c78a8"
)
PREPROCESS = StageKind(role="preprocess", advice="feed a video nearer to the network's size", colour="#72b7b2")
DETECT = StageKind(role="detect", advice="take a smaller network or input size, or a faster --device", colour="#f58518")
NMS = StageKind(role="nms", advice="raise --score-threshold, so that fewer candidates reach it", colour="#eeca3b")
RENDER = StageKind(
    role="render",
    advice="leave out what is drawn (--set render.labels=false) or the outputs that need it",
    colour="#b279a2",
)

STAGES: tuple[StageKind, ...] = (SOURCE, PREPROCESS, DETECT, NMS, RENDER)
"""In the order of the flow."""


def with_added_stages(flow: Flow[Result], config: RunConfig) -> Flow[Result]:
    """A flow of results, with the stages on results that a configuration requests behind it."""
    for kind in STAGES:
        flow = flow if kind.add is None else kind.add(flow, config)
    return flow
