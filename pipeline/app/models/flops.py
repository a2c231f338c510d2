"""Command `flops`: an ONNX file or the name of a detector → its parameters and operations, as tables and JSON."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

from rich.table import Table

from pipeline.app.extras import load
from pipeline.app.model_files import is_file_or_published, model_file
from pipeline.app.models.options import FlopsOptions
from pipeline.app.output_paths import files_of_model, refuse_overwriting
from pipeline.app.report_file import write_report
from pipeline.app.terminal import SafeConsole, tell
from pipeline.sinks.writable import refuse_unwritable

if TYPE_CHECKING:
    from export.graph.flops import Flops


def run_flops(options: FlopsOptions) -> int:
    """Count an ONNX file or a detector that export knows by name, and print it; 0.

    Raises ConfigError, ModelError and MissingExtraError for what cannot be counted, SinkError for JSON that cannot be
    written.
    """
    model, network_wh, json_file = options.model, options.network_wh, options.json_file
    if json_file is not None:
        inputs = {"the model": files_of_model(model)}
        refuse_overwriting([("--json", json_file)], inputs, overwrite=options.overwrite)
        refuse_unwritable(json_file, "the JSON file")
    if is_file_or_published(model):
        counted: Flops = load("export.graph.onnx_flops", extra="measure").count_onnx(model_file(model), network_wh)
    else:
        tell(SafeConsole(stderr=True), f"building {model}, with random weights", "dim")
        load("export.detectors")  # says what is missing: the module below needs PyTorch for this alone
        counted = load("export.graph.torch_flops").count_detector(model, network_wh)
    console = SafeConsole()
    if options.layers:
        console.print(_layers_of(counted), markup=False, highlight=False)
        console.print()
    console.print(_summary_of(counted), markup=False, highlight=False)
    console.print()
    console.print(_ops_of(counted), markup=False, highlight=False)
    if json_file is not None:
        write_report(_as_json(counted), json_file)
    return 0


def _summary_of(counted: Flops) -> Table:
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(style="dim", no_wrap=True)
    table.add_column(justify="right", no_wrap=True)
    table.add_column()
    inputs = "; ".join(f"{name} {list(shape)}" for name, shape in counted.input_shapes.items())
    table.add_row("network", "", f"{counted.name}, run on {inputs}")
    constants = f"and {counted.num_other_constants:,} other constants: grids, tables, statistics"
    table.add_row("parameters", _short(counted.num_parameters), f"{counted.num_parameters:,}, {constants}")
    table.add_row("MACs", _short(counted.macs), "multiply-adds of convolutions and matrix products; some say FLOPs")
    table.add_row("2 × MACs", _short(2 * counted.macs), "what others, as YOLO's and YOLOX's papers, call FLOPs")
    rest = counted.flops - 2 * counted.macs
    table.add_row("FLOPs", _short(counted.flops), f"2 × MACs, and {_short(rest)} for all the rest that is counted")
    if counted.largest_tensor is not None:
        name, num_bytes = counted.largest_tensor
        table.add_row("largest tensor", f"{num_bytes / 1e6:.2f} MB", name)
    if counted.not_counted:
        table.add_row("not counted", "", ", ".join(f"{op} ×{num}" for op, num in counted.not_counted.items()))
    for remark in counted.remarks:
        table.add_row("note", "", remark)
    return table


def _ops_of(counted: Flops) -> Table:
    table = _table("kind", "layers", "parameters", "MACs", "FLOPs", "share")
    for op, share in counted.by_op.items():
        part = f"{share.flops / counted.flops:.1%}" if counted.flops else "–"
        table.add_row(
            op, str(share.num_layers), f"{share.num_parameters:,}", _short(share.macs), _short(share.flops), part
        )
    return table


def _layers_of(counted: Flops) -> Table:
    table = _table("layer", "kind", "output", "parameters", "MACs", "FLOPs", num_left=3)
    for layer in counted.layers:
        shape = "?" if layer.output_shape is None else "×".join(map(str, layer.output_shape))
        table.add_row(
            layer.name or "(itself)",
            layer.op,
            shape,
            f"{layer.num_parameters:,}",
            _short(layer.macs),
            _short(layer.flops),
        )
    return table


def _table(*titles: str, num_left: int = 1) -> Table:
    table = Table(box=None, pad_edge=False, header_style="dim")
    for index, title in enumerate(titles):
        table.add_column(title, justify="left" if index < num_left else "right", overflow="fold")
    return table


def _short(number: int) -> str:
    """Three digits and a unit of thousand, million or billion."""
    for factor, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if number >= factor:
            return f"{number / factor:.3f} {unit}"
    return str(number)


def _as_json(counted: Flops) -> dict[str, object]:
    sums = {"macs": counted.macs, "flops": counted.flops}
    shares = {op: dataclasses.asdict(share) for op, share in counted.by_op.items()}
    return {**dataclasses.asdict(counted), **sums, "by_op": shares}
