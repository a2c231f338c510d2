"""Command `lineage compare`: trained files → one table, the papers' speed-ups beside ours, and a page of pictures."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pipeline.app.extras import load
from pipeline.app.lineage.options import LineageOptions
from pipeline.app.measure_apart import Case, measure_apart
from pipeline.app.one_frame import frame_of
from pipeline.app.opened_detector import open_detector
from pipeline.app.output_paths import refuse_overwriting
from pipeline.app.progress import WorkProgress
from pipeline.app.report_file import write_report
from pipeline.app.stages import DETECT, PROPOSE
from pipeline.app.terminal import SafeConsole, print_numbers, table_of_numbers, tell, wide_console
from pipeline.errors import ConfigError
from pipeline.picture.frame import ArrayPicture
from pipeline.sinks.writable import refuse_unwritable

_EXTRA = "lineage"
_FRAME = 30
_SECONDS = 4.0


@dataclass(frozen=True, slots=True)
class Row:
    """One system in the table."""

    name: str
    title: str
    year: int
    runs_on: str
    map50: float
    map: float
    fps: float  # through the whole pipeline
    propose_ms: float  # of a frame, median; 0: the network proposes itself
    network_ms: float
    gigaflops: float
    num_parameters: int
    num_proposals: int  # that the network takes in a frame; 0: it takes none
    train_minutes: float


@dataclass(frozen=True, slots=True)
class Speedup:
    """How many times as fast one system is as another: in its paper, and here."""

    faster: str
    slower: str
    what: str
    paper: str
    ours: float


def compare_systems(options: LineageOptions) -> None:
    """Measure, print, draw.

    Raises ConfigError where nothing was trained, ModelError for a file of another command or data set, SinkError for
    what cannot be written.
    """
    systems = load("export.lineage.systems", extra=_EXTRA).systems_named(options.subject)
    data_set = load("export.lineage.data_sets", extra=_EXTRA).data_set_named(options.data_set)
    folder = options.folder
    paths = {system.name: folder / f"{system.name}.onnx" for system in systems}
    trained = [system for system in systems if paths[system.name].is_file()]
    if not trained:
        begin = "lineage train all" + ("" if options.on is None else f" --on {options.on}")
        raise ConfigError(f"--out must hold trained systems, {folder} has none; begin with {begin}")
    report, page = folder / "compare.json", folder / "compare.jpg"
    inputs = {"a trained system": list(paths.values())}
    refuse_overwriting([("--out", report), ("--out", page)], inputs, overwrite=options.overwrite)
    for path in (report, page):
        refuse_unwritable(path, "the comparison")
    record_of = load("export.lineage.train", extra=_EXTRA).record_of
    records = {system.name: record_of(paths[system.name], data_set.name) for system in trained}
    rows, views = list[Row](), list[tuple[str, Any]]()
    class_names: Sequence[str] = ()
    with tempfile.TemporaryDirectory(prefix="streamdet-lineage-") as written, ExitStack() as phases:
        source = data_set.source(Path(written))
        pixels = frame_of(source, _FRAME)
        phase = phases.enter_context(WorkProgress().phase("measuring", total=len(trained)))
        for system in trained:
            row = _row_of(system, records[system.name], paths[system.name], source, options)
            with ExitStack() as stack:
                detector = open_detector(options.config.load(model=str(paths[system.name])), stack)
                (detections,) = detector.detect([ArrayPicture(pixels)])
                class_names = detector.spec.class_names
            rows.append(row)
            views.append((f"{row.year} {row.title}: mAP50 {row.map50:.2f}, {row.fps:.1f} FPS", detections))
            phase.advance()
    speedups = speedups_of(rows)
    _print(rows, speedups)
    load("export.lineage.pictures.line", extra="measure").draw_line(page, pixels, views, class_names)
    write_report({"systems": [asdict(r) for r in rows], "speedups": [asdict(s) for s in speedups]}, report)
    for path in (report, page):
        tell(SafeConsole(), f"wrote {path}")


def _row_of(system: Any, record: Any, path: Path, source: str, options: LineageOptions) -> Row:
    """The numbers of one file on a source of held-out pictures, measured in a process of its own."""
    flops = load("export.graph.onnx_flops", extra=_EXTRA).count_onnx(path)
    config = options.config.load(sources=(source,), model=str(path), output__show=False)
    measured = measure_apart(Case.of(config, seconds=_SECONDS))
    milliseconds = {stage.role: stage.service_ms["p50"] or 0.0 for stage in measured.stages.values()}
    rois = flops.input_shapes.get("rois")
    return Row(
        system.name,
        system.title,
        system.year,
        system.runs_on,
        record.judgement.map50,
        record.judgement.map,
        measured.delivered_fps,
        milliseconds.get(PROPOSE.role, 0.0),
        milliseconds[DETECT.role],
        flops.flops / 1e9,
        flops.num_parameters,
        0 if rois is None else rois[1],
        record.train_minutes,
    )


_PAPERS = (
    ("spp-net", "r-cnn", "network", "24 to 102 times (He et al. 2014, section 4.3)"),
    ("fast-r-cnn", "r-cnn", "network", "146 times, 213 with SVD (Girshick 2015, table 4)"),
    ("fast-r-cnn", "r-cnn", "frame", "not given: proposals are left out of its times"),
    ("fast-r-cnn", "r-cnn", "training", "9 times (Girshick 2015, table 4)"),
    ("fast-r-cnn", "spp-net", "network", "7 times, 10 with SVD (Girshick 2015, table 4)"),
    ("fast-r-cnn", "spp-net", "training", "3 times (Girshick 2015, table 4)"),
)


def speedups_of(rows: Sequence[Row]) -> list[Speedup]:
    """The speed-ups that the papers claim, of the systems that are there, with ours beside them.

    network: its time a frame; frame: that and the proposals; training: minutes, without pretraining and proposals.
    """
    by_name = {row.name: row for row in rows}
    return [
        Speedup(faster, slower, what, paper, _cost(by_name[slower], what) / max(_cost(by_name[faster], what), 1e-9))
        for faster, slower, what, paper in _PAPERS
        if faster in by_name and slower in by_name
    ]


def _cost(row: Row, what: str) -> float:
    if what == "training":
        return row.train_minutes
    return row.network_ms + (row.propose_ms if what == "frame" else 0.0)


def _print(rows: Sequence[Row], speedups: Sequence[Speedup]) -> None:
    console = wide_console()
    table = table_of_numbers(
        "system", "year", "runs on", "mAP50", "mAP", "FPS", "propose ms", "network ms", "GFLOPs", "k params",
        "proposals", "train min",
    )  # fmt: skip
    for row in rows:
        table.add_row(
            row.title,
            str(row.year),
            row.runs_on,
            f"{row.map50:.3f}",
            f"{row.map:.3f}",
            f"{row.fps:.1f}",
            f"{row.propose_ms:.0f}" if row.propose_ms else "-",
            f"{row.network_ms:.1f}",
            f"{row.gigaflops:.2f}",
            f"{row.num_parameters / 1000:.0f}",
            str(row.num_proposals or "-"),
            f"{row.train_minutes:.1f}",
        )
    print_numbers(console, table)
    for speedup in speedups:
        tell(
            console,
            f"{speedup.faster} against {speedup.slower}, {speedup.what}: {speedup.ours:.1f} times here, in the paper "
            f"{speedup.paper}",
        )
