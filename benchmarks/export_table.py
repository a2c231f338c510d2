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
from collections.abc import Sequence
from pathlib import Path
from typing import Any

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


def measure(name: str, size: str | None) -> dict[str, Any]:
    """Export one model, and measure the file."""
    from export.detectors import build
    from export.exportable import ExportRequest
    from export.exporting import TorchPath, export_detector
    from export.proof.images import drawn_images
    from pipeline.app.options import size as size_of
    from pipeline.detector.detector import Detector
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
    ours = Detector(engine, score_threshold=0.3)
    theirs = TorchPath(exportable, score_threshold=0.3)
    picture = next(image.picture for image in images if image.name == "crowded")
    milliseconds: dict[str, list[float]] = {"onnx": [], "torch": []}
    for _ in range(_RUNS):
        for label, path in (("onnx", ours), ("torch", theirs)):
            started = time.perf_counter()
            path([picture])
            milliseconds[label].append(1000 * (time.perf_counter() - started))
    empty = Detector(engine, score_threshold=1.5)([image.picture for image in images[:2]])
    parity = done.evidence.parity
    return {
        "size": "{}×{}".format(*done.spec.network_wh),
        "nodes": done.num_nodes,
        "mb": file_mb,
        "seconds": done.export_seconds,
        "build_seconds": build_seconds,
        "proof_seconds": done.proof_seconds,
        "passes": done.evidence.passes,
        "num_detections": parity.num_detections,
        "num_on_edge": parity.num_on_edge,
        "matched": parity.matched_share,
        "least_iou": parity.least_iou,
        "score_difference": parity.largest_score_difference,
        "class_flips": parity.num_class_flips,
        "mask_iou": parity.least_mask_iou,
        "points": parity.least_points_share,
        "onnx_ms": statistics.median(milliseconds["onnx"]),
        "torch_ms": statistics.median(milliseconds["torch"]),
        "batch_4_ok": done.evidence.passes and 4 in done.evidence.batch_sizes,
        "zero_ok": all(len(detections) == 0 for detections in empty),
    }


def table_of(rows: dict[str, dict[str, Any]]) -> str:
    """A Markdown table."""
    heading = [f"| {' | '.join(_COLUMNS)} |", "|---" * len(_COLUMNS) + "|"]
    return "\n".join([*heading, *(_line_of(name, row) for name, row in rows.items())])


def _line_of(name: str, row: dict[str, Any]) -> str:
    if "error" in row:
        return f"| {name} | – | **cannot be done here**: {row['error']} |" + " |" * (len(_COLUMNS) - 3)
    cells = [
        *(name, row["size"], f"{row['seconds']:.0f}", str(row["nodes"]), f"{row['mb']:.1f}", _matched(row)),
        *(f"{row['least_iou']:.4f}", f"{row['score_difference']:.1g}"),
        *(f"{row['onnx_ms']:.0f}", f"{row['torch_ms']:.0f}"),
        *("ok" if row[key] else "no" for key in ("batch_4_ok", "zero_ok")),
    ]
    return f"| {' | '.join(cells)} |"


def _matched(row: dict[str, Any]) -> str:
    """The share of detections that both sides have, with masks and points where there are some."""
    others = (("mask_iou", "masks"), ("points", "points"))
    more = "".join(f", {word} {row[key]:.2f}" for key, word in others if row[key] is not None)
    verdict = "" if row["passes"] else " **below the bar**"
    edge = f" (+{row['num_on_edge']} on the edge)" if row["num_on_edge"] else ""
    return f"{row['matched']:.2%} of {row['num_detections']}{more}{verdict}{edge}"


def _measured_apart(name: str, size: str | None) -> dict[str, Any]:
    """Measure in a process of its own, so that one that dies is a row and not the end."""
    command = [sys.executable, "-m", "benchmarks.export_table", "--one", name, *(["--size", size] if size else [])]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode == 0:
        row: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
        return row
    last = done.stderr.strip().splitlines()[-1] if done.stderr.strip() else f"it died with {done.returncode}"
    return {"error": last.replace("|", "/")[:300]}


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
        print(json.dumps(measure(options.one, options.size)))
        return
    rows: dict[str, dict[str, Any]] = {}
    if options.keep is not None and options.keep.is_file():
        rows = json.loads(options.keep.read_text())
    for name, size in MODELS:
        if (options.models and name not in options.models) or name in rows:
            continue
        rows[name] = _measured_apart(name, size)
        print(f"{name}: {rows[name]}", file=sys.stderr, flush=True)
        if options.keep is not None:
            options.keep.write_text(json.dumps(rows, indent=1))
    ordered = {name: rows[name] for name, _ in MODELS if name in rows}
    text = f"{describe_machine()}\n\n{table_of(ordered)}"
    if options.update is None:
        print(text)
        return
    before, _, rest = options.update.read_text().partition(_BEGIN)
    _, _, after = rest.partition(_END)
    options.update.write_text(f"{before}{_BEGIN}\n{text}\n{_END}{after}")


if __name__ == "__main__":
    main()
