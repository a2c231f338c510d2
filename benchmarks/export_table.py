"""Export table: PyTorch detectors in; size, speed and parity of the exported files, as a table in Markdown, out.

    python -m benchmarks.export_table --update docs/exported-models.md

Every model with random weights (there is nothing to download that could be compared), exported by the same function as
`streamdet export`, each in a process of its own. Milliseconds are medians of whole paths on one photograph-sized
picture, letterbox to boxes, PyTorch and ONNX Runtime in turns. A model that cannot be exported gives the reason.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

from benchmarks.machine import describe_machine

# The name, and the size where the model's own would take minutes on two cores.
MODELS: tuple[tuple[str, str | None], ...] = (
    ("ssdlite320_mobilenet_v3_large", None),
    ("ssd300_vgg16", None),
    ("retinanet_resnet50_fpn", "640x384"),
    ("retinanet_resnet50_fpn_v2", "640x384"),
    ("fcos_resnet50_fpn", "640x384"),
    ("fasterrcnn_mobilenet_v3_large_fpn", "640x384"),
    ("fasterrcnn_mobilenet_v3_large_320_fpn", None),
    ("fasterrcnn_resnet50_fpn", "640x384"),
    ("fasterrcnn_resnet50_fpn_v2", "640x384"),
    ("maskrcnn_resnet50_fpn", "640x384"),
    ("maskrcnn_resnet50_fpn_v2", "640x384"),
    ("keypointrcnn_resnet50_fpn", "640x384"),
    ("detr", "640x384"),
    ("conditional_detr", "640x384"),
    ("deformable_detr", "640x384"),
    ("rt_detr", None),
    ("rt_detr_v2", None),
    ("d_fine", None),
    ("yolos", None),
    ("rf_detr", None),
    ("lw_detr", None),
    ("efficientdet_d0", None),
    ("tf_efficientdet_lite0", None),
    ("yolox-nano", None),
    ("yolox-s", None),
)
_BEGIN, _END = "<!-- table: benchmarks.export_table -->", "<!-- end of table -->"
_RUNS = 5
_COLUMNS = (
    *("model", "size", "export s", "nodes", "MB", "matched", "least IoU", "Δ score", "ONNX ms", "torch ms"),
    *("batch 4", "0 found"),
)


@dataclass(frozen=True, slots=True)
class Row:
    """An exported file and how it compares with PyTorch; the keys of `--keep`'s file are these names."""

    size: str  # of the network, width × height
    nodes: int
    mb: float
    seconds: float
    build_seconds: float
    proof_seconds: float
    passes: bool
    num_detections: int
    num_on_edge: int
    matched: float  # share of the detections, 0 to 1
    least_iou: float
    score_difference: float
    class_flips: int
    mask_iou: float | None  # None: it has no masks
    points: float | None  # None: it has no keypoints
    onnx_ms: float
    torch_ms: float
    batch_4_ok: bool
    zero_ok: bool


@dataclass(frozen=True, slots=True)
class Failure:
    """The reason why a model has no row."""

    error: str


def measure(name: str, size: str | None) -> Row:
    """Export one model, and measure the file."""
    from export.detectors import build
    from export.exportable import ExportRequest
    from export.exporting import TorchPath, export_detector
    from export.proof.images import drawn_images
    from pipeline.app.options import size as size_of
    from pipeline.detector.detector import EngineDetector
    from pipeline.detector.engine import OrtEngine

    began = time.monotonic()
    exportable = build(
        ExportRequest(name, weights="none", network_wh=None if size is None else size_of(size, "--size"))
    )
    build_seconds = time.monotonic() - began
    images = drawn_images()
    with tempfile.TemporaryDirectory() as folder:
        done = export_detector(exportable, Path(folder) / "model.onnx", images=images, force=True)
        engine = OrtEngine(done.path, done.spec, device="cpu", spin_microseconds=None)
        file_mb = done.path.stat().st_size / 1e6
    picture = next(image.picture for image in images if image.name == "crowded")
    ours, theirs = EngineDetector(engine, score_threshold=0.3), TorchPath(exportable, score_threshold=0.3)
    onnx_ms, torch_ms = _medians_in_turns(partial(ours, [picture]), partial(theirs, [picture]))
    empty = EngineDetector(engine, score_threshold=1.5)([image.picture for image in images[:2]])
    parity = done.evidence.parity
    return Row(
        size="{}×{}".format(*done.spec.network_wh),
        nodes=done.num_nodes,
        mb=file_mb,
        seconds=done.export_seconds,
        build_seconds=build_seconds,
        proof_seconds=done.proof_seconds,
        passes=done.evidence.passes,
        num_detections=parity.num_detections,
        num_on_edge=parity.num_on_edge,
        matched=parity.matched_share,
        least_iou=parity.least_iou,
        score_difference=parity.largest_score_difference,
        class_flips=parity.num_class_flips,
        mask_iou=parity.least_mask_iou,
        points=parity.least_points_share,
        onnx_ms=onnx_ms,
        torch_ms=torch_ms,
        batch_4_ok=done.evidence.passes and 4 in done.evidence.batch_sizes,
        zero_ok=all(len(detections) == 0 for detections in empty),
    )


def _medians_in_turns(*paths: Callable[[], object]) -> list[float]:
    """The median milliseconds of each path."""
    milliseconds: list[list[float]] = [[] for _ in paths]
    for _ in range(_RUNS):
        for path, durations in zip(paths, milliseconds, strict=True):
            started = time.perf_counter()
            path()
            durations.append(1000 * (time.perf_counter() - started))
    return [statistics.median(durations) for durations in milliseconds]


def table_of(rows: Mapping[str, Row | Failure]) -> str:
    """A Markdown table."""
    heading = [f"| {' | '.join(_COLUMNS)} |", "|---" * len(_COLUMNS) + "|"]
    return "\n".join([*heading, *(_line_of(name, row) for name, row in rows.items())])


def _line_of(name: str, row: Row | Failure) -> str:
    if isinstance(row, Failure):
        return f"| {name} | – | **cannot be done here**: {row.error} |" + " |" * (len(_COLUMNS) - 3)
    cells = [
        *(name, row.size, f"{row.seconds:.0f}", str(row.nodes), f"{row.mb:.1f}", _matched(row)),
        *(f"{row.least_iou:.4f}", f"{row.score_difference:.1g}", f"{row.onnx_ms:.0f}", f"{row.torch_ms:.0f}"),
        *("ok" if is_ok else "no" for is_ok in (row.batch_4_ok, row.zero_ok)),
    ]
    return f"| {' | '.join(cells)} |"


def _matched(row: Row) -> str:
    """The share of detections that both sides have, with masks and points where there are some."""
    others = ((row.mask_iou, "masks"), (row.points, "points"))
    more = "".join(f", {word} {value:.2f}" for value, word in others if value is not None)
    verdict = "" if row.passes else " **below the bar**"
    edge = f" (+{row.num_on_edge} on the edge)" if row.num_on_edge else ""
    return f"{row.matched:.2%} of {row.num_detections}{more}{verdict}{edge}"


def _measured_apart(name: str, size: str | None) -> Row | Failure:
    """Measure in a process of its own, so that one that dies is a row and not the end."""
    command = [sys.executable, "-m", "benchmarks.export_table", "--one", name, *(["--size", size] if size else [])]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode == 0:
        return Row(**json.loads(done.stdout.splitlines()[-1]))
    last = done.stderr.strip().splitlines()[-1] if done.stderr.strip() else f"it died with {done.returncode}"
    return Failure(last.replace("|", "/")[:300])


def _kept(path: Path | None) -> dict[str, Row | Failure]:
    """The rows of `--keep`'s file."""
    if path is None or not path.is_file():
        return {}
    entries = json.loads(path.read_text())
    return {name: Failure(**entry) if "error" in entry else Row(**entry) for name, entry in entries.items()}


def _put_between_marks(path: Path, text: str) -> None:
    before, _, rest = path.read_text().partition(_BEGIN)
    _, _, after = rest.partition(_END)
    path.write_text(f"{before}{_BEGIN}\n{text}\n{_END}{after}")


def main(words: Sequence[str] | None = None) -> None:
    """Measure all, or those that are named, and print or update the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="*", help="only these")
    parser.add_argument("--update", type=Path, help="a Markdown file, between its two marks")
    parser.add_argument("--keep", type=Path, help="a JSON file of rows that are not measured again")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    parser.add_argument("--size", help=argparse.SUPPRESS)
    options = parser.parse_args(words)
    if options.one:
        print(json.dumps(asdict(measure(options.one, options.size))))
        return
    rows = _kept(options.keep)
    for name, size in MODELS:
        if (options.models and name not in options.models) or name in rows:
            continue
        rows[name] = _measured_apart(name, size)
        print(f"{name}: {rows[name]}", file=sys.stderr, flush=True)
        if options.keep is not None:
            options.keep.write_text(json.dumps({done: asdict(row) for done, row in rows.items()}, indent=1))
    ordered = {name: rows[name] for name, _ in MODELS if name in rows}
    text = f"{describe_machine()}\n\n{table_of(ordered)}"
    if options.update is None:
        print(text)
    else:
        _put_between_marks(options.update, text)


if __name__ == "__main__":
    main()
