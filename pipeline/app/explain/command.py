"""Command `explain`: a frame, a detector and one of its objects → a picture of what the detector looked at."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path

from rich.console import Console

from pipeline.app.explain.explained import Explained, is_pytorch, open_explained
from pipeline.app.explain.options import ExplainOptions, Method
from pipeline.app.one_frame import frame_of
from pipeline.app.output_paths import files_of_model, refuse_overwriting
from pipeline.app.progress import WorkProgress
from pipeline.app.terminal import SafeConsole, tell
from pipeline.errors import ConfigError
from pipeline.picture.boxes import FloatArray
from pipeline.picture.detections import Detections
from pipeline.picture.detector_spec import DetectorSpec
from pipeline.picture.frame import ArrayPicture, PixelArray
from pipeline.picture.image_file import refuse_no_picture, write_image
from pipeline.saliency import NUM_MASKS
from pipeline.saliency.drise import drise_map
from pipeline.saliency.heat_picture import heat_picture
from pipeline.saliency.masking import share_inside_box
from pipeline.saliency.occlusion import Occlusion, occlusion_map
from pipeline.saliency.target import Target
from pipeline.sources.kinds import files_of

_BATCH = 8
_MOST_LISTED = 20
_POSITIVE: Mapping[Method, str] = {
    "drise": "helps",
    "occlusion": "counts",
    "gradcam": "speaks for the object",
    "cam": "speaks for the object",
}


def run_explain(options: ExplainOptions) -> int:
    """Explain one object of a frame, and write the picture; 0.

    Raises ConfigError for an object that the frame does not have, and a StreamdetError for what cannot be opened, run
    or written.
    """
    if options.patch is not None and options.method != "occlusion":
        raise ConfigError("--patch is the square of --method occlusion; leave it out, or take that method")
    if options.masks is not None and options.method != "drise":
        raise ConfigError("--masks are those of --method drise; leave it out, or take that method")
    output = options.output or Path(f"{_stem(options.frame)}-{options.method}.png")
    config = options.config.load(model=None if is_pytorch(options) else options.model)
    inputs = {"the frame": files_of(options.frame), "the model": _files_of_model(options, config.model)}
    refuse_overwriting([("--output", output)], inputs, overwrite=options.overwrite)
    refuse_no_picture(output)
    pixels = frame_of(options.frame, options.index)
    console = SafeConsole()
    with ExitStack() as stack:
        detector = open_explained(options, config, stack)
        spec = detector.spec
        (detections,) = detector.detect([ArrayPicture(pixels)])
        target = _chosen(detections, spec, options.object, console)
        heat, how = _heat(options, detector, pixels, target)
    share = share_inside_box(heat, target)
    index = options.object - 1
    name = f"{_class_name(spec, target.class_id)} {detections.scores[index]:.2f}"
    picture = heat_picture(pixels, heat, target, lines=[name], legend=[how, f"{share:.0%} of the heat in the box"])
    write_image(output, picture)
    tell(console, f"{share:.0%} of what {_POSITIVE[options.method]} lies in the box; {how}")
    tell(console, f"wrote {output}")
    return 0


def _chosen(detections: Detections, spec: DetectorSpec, number: int, console: Console) -> Target:
    """The object of that number, the surest first; prints the list. Raises ConfigError for a number beyond it."""
    count = len(detections)
    if number > count:
        raise ConfigError(
            f"--object must be the number of an object that the model sees, which are {count} in this frame, got "
            f"{number}; lower --score-threshold to see more"
        )
    for index in range(min(count, max(_MOST_LISTED, number))):
        mark = "→" if index + 1 == number else " "
        box = " ".join(f"{side:.0f}" for side in detections.boxes_xyxy[index].tolist())
        name = _class_name(spec, int(detections.class_ids[index]))
        tell(console, f"{mark} {index + 1:2d}  {name} {detections.scores[index]:.2f}  {box}")
    return Target(detections.boxes_xyxy[number - 1], int(detections.class_ids[number - 1]))


def _class_name(spec: DetectorSpec, class_id: int) -> str:
    return spec.class_names[class_id] if 0 <= class_id < len(spec.class_names) else f"class {class_id}"


def _heat(options: ExplainOptions, detector: Explained, pixels: PixelArray, target: Target) -> tuple[FloatArray, str]:
    """The heat [H, W], and how it came about."""
    progress, detect = WorkProgress(), detector.detect_all
    batch = detector.spec.batch or _BATCH
    if options.method in ("gradcam", "cam"):
        name = "Grad-CAM" if options.method == "gradcam" else "CAM"
        with progress.phase(name, total=1) as phase:
            heat, layer = detector.heat(pixels, target, phase.at)
        return heat, f"{name}, {layer}"
    if options.method == "drise":
        total = options.masks or NUM_MASKS
        how = f"D-RISE, {total} masks"

        def work(on_step: Callable[[], None]) -> FloatArray:
            return drise_map(detect, pixels, target, num_masks=total, batch=batch, on_step=on_step)

    else:
        occlusion = Occlusion(pixels, target, side=options.patch)
        how, total = f"occlusion, squares of {occlusion.side} px", len(occlusion)

        def work(on_step: Callable[[], None]) -> FloatArray:
            return occlusion_map(detect, pixels, target, side=options.patch, batch=batch, on_step=on_step)

    with progress.phase(how, total=total) as phase:
        return work(phase.advance), how


def _files_of_model(options: ExplainOptions, model: str | None) -> Sequence[Path]:
    checkpoint = [] if options.checkpoint is None else [options.checkpoint]
    return checkpoint if is_pytorch(options) else files_of_model(model)


def _stem(word: str) -> str:
    """A name for a file: that of the image or video without suffix, or the letters of an address."""
    name = word.partition("?")[0].rstrip("/").rpartition("/")[2]
    return re.sub(r"[^\w.-]+", "-", Path(name).stem if "." in name else name).strip("-") or "frame"
