"""Command `export`: a detector in PyTorch → an ONNX file, with proof that it detects the same."""

from __future__ import annotations

import threading
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from rich.table import Table

from pipeline.accuracy.coco_json import find_coco_json
from pipeline.app.certificates import rows_of
from pipeline.app.extras import load
from pipeline.app.model_hints import read_class_names
from pipeline.app.models.options import ExportOptions
from pipeline.app.output_paths import Inputs, files_of_model, refuse_overwriting
from pipeline.app.progress import WorkProgress
from pipeline.app.terminal import SafeConsole, tell
from pipeline.errors import ConfigError
from pipeline.picture.detector_spec import DetectorSpec
from pipeline.picture.network_shape import shape_for
from pipeline.sinks.writable import refuse_unwritable
from pipeline.sources.kinds import files_of
from pipeline.sources.opening import open_source

if TYPE_CHECKING:
    from export.exportable import ExportRequest
    from export.exporting import Exported


def print_names() -> None:
    """Print the names that export knows."""
    console = SafeConsole()
    for library, names in load("export.known").NAMES.items():
        tell(console, library, "bold")
        console.print("  " + "  ".join(names), markup=False, highlight=False)
    tell(console, "or a hub id or folder of transformers, or package.module:function with --adapter")


def run_export(options: ExportOptions) -> int:
    """Build, export, prove, write, and print the outcome; 0. Raises a StreamdetError for what cannot be exported."""
    if options.list_names and options.model is not None:
        raise ConfigError(f"--list takes no MODEL, got {options.model}; leave out one of them")
    if options.list_names or options.model is None:
        print_names()
        return 0 if options.list_names else 2
    if options.pixels == "nv12" and options.form == "body":
        raise ConfigError("--pixels nv12 needs --form boxes or --form frame, whose graphs take pixels; got --form body")
    name = options.model.rpartition(":")[2].rpartition("/")[2] or options.model
    output = options.output or Path(f"{name}.onnx")
    refuse_overwriting([("--output", output)], _inputs(options, options.model), overwrite=options.overwrite)
    refuse_unwritable(output, "the ONNX file")
    request = _request(options, options.model)  # loads PyTorch, after every check that does without it
    load("export.graph.to_onnx").refuse_opset(options.opset)
    progress = WorkProgress()
    proof_images = load("export.proof.images")
    user_images, labels = (), None
    if options.verify_on is not None:
        user_images = proof_images.images_of(options.verify_on, most=options.max_images)
        labels = find_coco_json(Path(options.verify_on))
    progress(f"building {options.model}")
    with progress.phase(f"building {options.model}"):
        exportable = load("export.detectors").build(request, adapter=options.adapter)
        if options.video is not None:
            network_wh = _shape_of_video(options.video, exportable.spec)
            request = replace(request, network_wh=network_wh)
            exportable = load("export.detectors").build(request, adapter=options.adapter)
            progress(f"{network_wh[0]} × {network_wh[1]}, the shape of {options.video}")
    images = (*proof_images.drawn_images(), *user_images)
    progress(f"exporting the {options.form} form, then comparing on {len(images)} images")
    with progress.phase("exporting and comparing") as phase:
        exported = load("export.exporting").export_detector(
            exportable,
            output,
            images=images,
            form=options.form,
            pixels=options.pixels,
            half=options.half,
            opset=options.opset,
            force=options.force,
            labels=labels,
            on_image=phase.at,
        )
    progress(f"written: {output}")
    _print_outcome(exported)
    return 0


def _shape_of_video(word: str, spec: DetectorSpec) -> tuple[int, int]:
    """The network's size for a video. Raises ConfigError for a detector to which the shape of pictures is nothing."""
    if not spec.resize.startswith("letterbox"):
        raise ConfigError(
            f"--for needs a detector that keeps the shape of pictures and pads them, the resizing of this one is "
            f"{spec.resize}; leave it out"
        )
    source = open_source(word)
    try:
        timed = next(iter(source.pictures(threading.Event())), None)
    finally:
        source.close()
    if timed is None:
        raise ConfigError(f"--for must be a video with a picture in it, {word} has none")
    return shape_for(timed.picture.size_wh, spec.network_wh, spec.resize)


def _inputs(options: ExportOptions, model: str) -> Inputs:
    """The files that are read, by what they are."""
    modules = [word.partition(":")[0] for word in (model, options.adapter or "") if ":" in word]
    named = [path for path in (options.checkpoint, options.class_names) if path is not None]
    return {
        "the model": files_of_model(model) if Path(model).exists() else [],
        "the module of --adapter or the model": [Path(f"{module.replace('.', '/')}.py") for module in modules],
        "what is read": named,
        "the video of --for": () if options.video is None else files_of(options.video),
        "an image of --verify-on": () if options.verify_on is None else files_of(options.verify_on),
    }


def _request(options: ExportOptions, model: str) -> ExportRequest:
    names = None if options.class_names is None else read_class_names(options.class_names)
    if names is not None and options.num_classes not in (None, len(names)):
        raise ConfigError(f"--num-classes is {options.num_classes}, but --class-names names {len(names)}")
    request: ExportRequest = load("export.exportable").ExportRequest(
        name=model,
        weights=options.weights,
        checkpoint=options.checkpoint,
        num_classes=options.num_classes if names is None else len(names),
        class_names=names,
        network_wh=options.network_wh,
    )
    return request


def _print_outcome(exported: Exported) -> None:
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(style="dim", no_wrap=True)
    table.add_column()
    size = exported.path.stat().st_size / 1e6
    seconds = f"{exported.export_seconds:.1f} s to export, {exported.proof_seconds:.1f} s to compare"
    table.add_row("file", f"{exported.path}: {size:.1f} MB, {exported.num_nodes} nodes, {seconds}")
    for name, value in rows_of(exported.spec.parity or {}):
        table.add_row(name, value)
    table.add_row("run it", f"streamdet run VIDEO --model {exported.path}")
    SafeConsole().print(table, markup=False, highlight=False)
