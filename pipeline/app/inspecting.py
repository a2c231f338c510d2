"""What is in this ONNX file?"""

from __future__ import annotations

from pathlib import Path

from rich.console import Console
from rich.table import Table

from pipeline.detector.engine import OrtEngine
from pipeline.detector.recognise import recognise
from pipeline.picture.detector_spec import DetectorSpec


def print_model(path: Path) -> None:
    """Print what a detector expects and returns, after running it once on the CPU.

    Raises ModelError for a file that would not run.
    """
    spec = recognise(path)
    engine = OrtEngine(path, spec, device="cpu")
    engine.warm_up(runs=1)
    outputs = {name: list(value.shape) for name, value in engine.infer(engine.blank_input()).items()}
    console = Console()
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(style="dim", no_wrap=True)
    table.add_column()
    for name, value in _rows(path, spec, outputs):
        table.add_row(name, value)
    console.print(table, markup=False, highlight=False)


def _rows(path: Path, spec: DetectorSpec, outputs: dict[str, list[int]]) -> list[tuple[str, str]]:
    width, height = spec.network_wh
    batch = "any" if spec.batch is None else str(spec.batch)
    values = "0..255 as they are" if spec.dtype == "uint8" else f"(pixel - {_triple(spec.mean)}) / {_triple(spec.std)}"
    names = ", ".join(spec.class_names[:8]) + (", …" if len(spec.class_names) > 8 else "")
    return [
        ("file", f"{path} ({path.stat().st_size / 1e6:.1f} MB)"),
        ("name", spec.model_name or "–"),
        ("input", f"{spec.input_name}: {spec.dtype} {spec.layout.upper()}, {width} × {height}, batch {batch}"),
        ("pixels", f"{spec.colour.upper()}, {values}, {spec.resize}, pad {spec.pad_value}"),
        ("outputs", ", ".join(f"{name} {shape}" for name, shape in outputs.items())),
        ("head", f"{spec.head}, boxes {spec.box_format}{' normalised' if spec.boxes_are_normalised else ''}"),
        ("NMS", f"ours, IoU threshold {spec.iou_threshold:g}" if spec.needs_nms else "inside the model"),
        ("score from", f"{spec.score_threshold:g}"),
        ("classes", f"{len(spec.class_names)}: {names}"),
        ("parity", _parity(spec)),
        ("because", "; ".join(spec.provenance) or "–"),
    ]


def _parity(spec: DetectorSpec) -> str:
    if spec.parity is None:
        return "no certificate: nobody has shown that this file says what its PyTorch model says"
    return ", ".join(f"{key} {value}" for key, value in spec.parity.items() if not isinstance(value, dict | list))


def _triple(values: tuple[float, float, float]) -> str:
    return f"{values[0]:g}" if len(set(values)) == 1 else "(" + ", ".join(f"{value:g}" for value in values) + ")"
