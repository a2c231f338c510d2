"""Detection runs: a configuration and labelled images → the detections of its model in them, and their AP.

The model runs through the pipeline, as it would in use, so that what is judged is what really runs.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, replace

from pipeline.accuracy.classes import in_classes_of_data, match_classes
from pipeline.accuracy.coco import coco_accuracy
from pipeline.accuracy.truth import LabelledData, LabelledImage
from pipeline.app.assemble import assemble
from pipeline.app.config.run import RunConfig
from pipeline.app.model_branch import model_of
from pipeline.app.stages import DETECT
from pipeline.errors import ConfigError, SourceError
from pipeline.flow.running import Running, RunStatistics
from pipeline.picture.detections import Detections
from pipeline.picture.detector_spec import DetectorSpec
from pipeline.sources.images import ImagesSource
from pipeline.sources.words import is_drawn

# AP counts detections far below a threshold for showing them.
SCORE_THRESHOLD = 0.001
MAX_DETECTIONS = 100  # of an image, as in COCO's competition


@dataclass(frozen=True, slots=True)
class ModelRun:
    """The detections of a model in labelled images, and the statistics of its run."""

    detections: tuple[Detections, ...]  # image by image, in the classes of the data
    statistics: RunStatistics
    device: str
    precision: str
    agreement: str | None  # with the CPU in fp32; None: it is that

    @property
    def detect_ms(self) -> float | None:
        """The network's median time for an image, or batch."""
        detect = self.statistics.of_role(DETECT.role)
        return None if detect is None or detect.service.p50 is None else 1000 * detect.service.p50


def detect_all(
    config: RunConfig, data: LabelledData, spec: DetectorSpec, *, on_image: Callable[[], None] = lambda: None
) -> ModelRun:
    """Run a model over every image of `data`, or frame of drawn traffic, through the pipeline.

    Raises a StreamdetError for what cannot run, an image that cannot be read, and one of another size than labelled.
    """
    paths = [image.path for image in data.images if image.path is not None]
    source = ImagesSource(data.origin, paths=paths) if paths else None
    assembly = assemble(config.without_gate(), source=source)
    classes = match_classes(spec.class_names, data.class_names)
    by_index: dict[int, Detections] = {}
    with ExitStack() as stack:
        stack.callback(assembly.engine.close)
        running = stack.enter_context(Running(assembly.flow, results=True))
        for result in running:
            index = result.frame.index if source is None else int(result.frame.pts_seconds)
            _refuse_other_size(data.images[index], result.frame.size_wh)
            by_index[index] = _to_be_kept(in_classes_of_data(result.detections, classes))
            on_image()
    if len(by_index) < len(data.images):
        damage = [line for opened in assembly.sources.values() for line in opened.damage]
        raise SourceError(
            f"{data.origin}: every labelled image must be readable, {len(data.images) - len(by_index)} of "
            f"{len(data.images)} are not: {'; '.join(damage[:1])}"
        )
    ordered = tuple(by_index[index] for index in range(len(by_index)))
    engine = assembly.engine
    return ModelRun(ordered, running.statistics(), engine.device, engine.precision, engine.agreement)


def average_precision(
    config: RunConfig, data: LabelledData, *, on_image: Callable[[], None] = lambda: None
) -> float | None:
    """COCO's AP of a configuration's detector, whatever its sources, outputs and thresholds; None without objects."""
    judged = config.without_outputs().model_copy(
        update={
            "sources": (data.origin,) if is_drawn(data.origin) else (),
            "detection": config.detection.model_copy(
                update={"score_threshold": SCORE_THRESHOLD, "max_detections": MAX_DETECTIONS}
            ),
            "flow": config.flow.model_copy(
                update={"mode": "every-frame", "every": 1, "max_frames": None, "rate_fps": None}
            ),
        }
    )
    _, spec = model_of(judged)
    run = detect_all(judged, data, spec, on_image=on_image)
    return coco_accuracy(run.detections, [image.truth for image in data.images]).numbers["AP"]


def _to_be_kept(detections: Detections) -> Detections:
    """The same detections with masks in few bytes: those of thousands of images are kept."""
    return detections if detections.masks is None else replace(detections, masks=detections.masks.packed())


def _refuse_other_size(image: LabelledImage, size_wh: tuple[int, int]) -> None:
    if image.size_wh not in (None, size_wh):
        labelled = "×".join(map(str, image.size_wh or ()))
        raise ConfigError(
            f"{image.path or image.name}: the labels are of an image of {labelled}, it is {size_wh[0]}×{size_wh[1]}"
        )
