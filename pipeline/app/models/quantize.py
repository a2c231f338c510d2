"""Command `quantize`: a float32 ONNX file and images → an INT8 file within a bound of accuracy."""

from __future__ import annotations

from pathlib import Path

from rich.table import Table

from pipeline.accuracy.coco_json import find_coco_json
from pipeline.app.certificates import rows_of
from pipeline.app.extras import load
from pipeline.app.model_files import model_file
from pipeline.app.models.options import QuantizeOptions
from pipeline.app.output_paths import files_of_model, refuse_overwriting
from pipeline.app.progress import WorkProgress
from pipeline.app.terminal import SafeConsole
from pipeline.detector.recognise import recognise
from pipeline.errors import ModelError
from pipeline.sinks.writable import refuse_unwritable
from pipeline.sources.kinds import files_of


def run_quantize(options: QuantizeOptions) -> int:
    """Search, write, and print which layers stay in float; 0. Raises ModelError, writing nothing, beyond the bound."""
    model, calibrate = model_file(options.model), options.calibrate
    output = options.output or options.model.with_name(f"{options.model.stem}-int8.onnx")  # of a name: here
    if output.exists() and model.exists() and output.samefile(model):
        raise ModelError(f"--output must be another file than MODEL, got {output}")
    inputs = {"the model": files_of_model(model), "an image of --calibrate": files_of(calibrate)}
    refuse_overwriting([("--output", output)], inputs, overwrite=options.overwrite)
    refuse_unwritable(output, "the INT8 file")
    spec = recognise(model)
    say = WorkProgress()
    images = load("export.proof.images").images_of(calibrate, most=options.max_images)
    if len(images) < 2:
        raise ModelError(f"--calibrate must give at least 2 images, {calibrate} has {len(images)}")
    labels = find_coco_json(Path(calibrate)) if Path(calibrate).is_dir() else None
    say(f"{len(images)} images, evaluated against {labels.origin if labels else 'the detections of the float32 file'}")
    with say.phase("quantizing", is_at_most=True) as phase:
        done = load("export.graph.quantize").quantize(
            *(model, spec, output),
            images=images,
            labels=labels,
            largest_drop=options.max_drop / 100,
            say=say,
            on_step=phase.at,
        )
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(style="dim", no_wrap=True)
    table.add_column()
    sizes = f"{output.stat().st_size / 1e6:.2f} MB instead of {model.stat().st_size / 1e6:.2f}"
    table.add_row("file", f"{output}: {sizes}")
    kept = f"; in float: {', '.join(done.kept_in_float)}" if done.kept_in_float else ""
    table.add_row("INT8", f"{done.num_layers - len(done.kept_in_float)} of {done.num_layers} layers{kept}")
    table.add_row("decoding", f"{len(done.tail)} nodes after the last layers, in float")
    for name, value in rows_of(done.spec.parity or {}):
        table.add_row(name, value)
    SafeConsole().print(table, markup=False, highlight=False)
    return 0
