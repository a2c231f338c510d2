"""Command `inspect`: an ONNX file → its inputs, outputs, head and certificate, and the evidence for them."""

from __future__ import annotations

from pathlib import Path

from rich.table import Table

from pipeline.app.certificates import certificate_mismatch, rows_of
from pipeline.app.engines import known_agreements
from pipeline.app.model_files import model_file
from pipeline.app.model_hints import hints_of, recognised
from pipeline.app.models.options import InspectOptions
from pipeline.app.terminal import SafeConsole, tell
from pipeline.detector.engine import OrtEngine
from pipeline.detector.heads.hints import Hints
from pipeline.detector.recognise import examine
from pipeline.picture.detector_spec import DetectorSpec


def run_inspect(options: InspectOptions) -> int:
    """Print what an ONNX file expects and returns, and with `why` the evidence for it; 0.

    Raises ModelError for a file that would not run.
    """
    hints = hints_of(options.config.load().hints)
    path = model_file(options.model)
    if options.why:
        print_reasons(path, hints)
    print_model(path, hints)
    return 0


def print_reasons(path: Path, hints: Hints) -> None:
    """Print the evidence for and against each reading of a file. Raises ModelError for one that is not ONNX."""
    findings = examine(path, hints)
    console = SafeConsole()
    for spec in findings.accepted:
        tell(console, f"✓ {spec.provenance[0]}", "green")
        for reason in spec.provenance[1:]:
            tell(console, f"    {reason}")
    kinds = (findings.kind,) if findings.kind else ()
    for sign, reasons in (("✗", (*kinds, *findings.refused)), ("–", findings.near_misses), ("·", findings.far_misses)):
        for reason in reasons:
            tell(console, f"{sign} {reason}", "dim")
    console.print()


def print_model(path: Path, hints: Hints | None = None) -> None:
    """Print what a detector expects and returns, after running it once on the CPU.

    Raises ModelError for a file that would not run.
    """
    spec = recognised(path, hints or Hints())
    engine = OrtEngine(path, spec, device="cpu")
    outputs = {name: list(value.shape) for name, value in engine.infer_blank().items()}
    console = SafeConsole()
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(style="dim", no_wrap=True)
    table.add_column()
    for name, value in _rows(path, spec, outputs):
        table.add_row(name, value)
    doubt = certificate_mismatch(path, spec)
    table.add_row("parity", "certificate" if doubt is None else doubt)
    for settings, agreement in known_agreements(path).items():
        table.add_row("agreement", f"{settings}: {agreement}")
    console.print(table, markup=False, highlight=False)
    if spec.parity is not None and "bar" in spec.parity:
        certificate = Table(box=None, show_header=False, pad_edge=False, padding=(0, 1, 0, 2))
        certificate.add_column(style="dim", no_wrap=True)
        certificate.add_column()
        for name, value in rows_of(spec.parity):
            certificate.add_row(name, value)
        console.print(certificate, markup=False, highlight=False)


def _rows(path: Path, spec: DetectorSpec, outputs: dict[str, list[int]]) -> list[tuple[str, str]]:
    width, height = spec.network_wh
    batch = "any" if spec.batch is None else str(spec.batch)
    values = "0..255 as they are" if spec.dtype == "uint8" else f"(pixel - {_triple(spec.mean)}) / {_triple(spec.std)}"
    names = ", ".join(spec.class_names[:8]) + (", …" if len(spec.class_names) > 8 else "")
    takes = f"{spec.input_name}: {spec.dtype} {spec.layout.upper()}, {width} × {height}, batch {batch}"
    if spec.pixels == "nv12":
        takes = f"y, uv: NV12 planes of frames of any size and pitch, resized to {width} × {height} in the graph"
    return [
        ("file", f"{path} ({path.stat().st_size / 1e6:.1f} MB)"),
        ("name", spec.model_name or "–"),
        ("input", takes),
        (
            "pixels",
            "YUV, BT.601, BT.709 or BT.2020 as the video says"
            if spec.pixels == "nv12"
            else f"{spec.colour.upper()}, {values}, {spec.resize}, pad {spec.pad_value}",
        ),
        ("outputs", ", ".join(f"{name} {shape}" for name, shape in outputs.items())),
        ("head", f"{spec.head}, {_boxes_in_words(spec)}"),
        ("NMS", f"ours, IoU threshold {spec.iou_threshold:g}" if spec.needs_nms else "inside the model"),
        ("score from", f"{spec.score_threshold:g}"),
        *(
            (("keypoints", f"{len(spec.keypoint_names)}: {', '.join(spec.keypoint_names)}"),)
            if spec.keypoint_names
            else ()
        ),
        ("classes", f"{len(spec.class_names)}: {names}"),
        ("because", "; ".join(spec.provenance) or "–"),
    ]


def _boxes_in_words(spec: DetectorSpec) -> str:
    unit, angle = " normalised" * spec.boxes_are_normalised, " and an angle in radians" * spec.has_angles
    return f"boxes {spec.box_format}{unit}{angle}"


def _triple(values: tuple[float, float, float]) -> str:
    return f"{values[0]:g}" if len(set(values)) == 1 else "(" + ", ".join(f"{value:g}" for value in values) + ")"
