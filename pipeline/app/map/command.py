"""Command `map`: files and a detector → a folder of Parquet, done on processes or machines; 1 if an input failed."""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from pathlib import Path

from pipeline.app.config.loading import with_keys
from pipeline.app.config.run import RunConfig
from pipeline.app.engines import model_digest
from pipeline.app.machine import available_cores
from pipeline.app.map.options import MapOptions
from pipeline.app.map.work import OpenMapWork
from pipeline.app.model_branch import checked_detector
from pipeline.app.output_paths import refuse_folder_of_inputs
from pipeline.app.progress import Phase, WorkProgress
from pipeline.errors import ConfigError, without_controls
from pipeline.fleet.local_workers import LocalWorkers
from pipeline.fleet.manifest import read_manifest
from pipeline.fleet.map_folder import MapFolder
from pipeline.fleet.mapping import MapRun
from pipeline.fleet.ray_workers import RayWorkers, ray_address
from pipeline.fleet.remote_address import is_remote
from pipeline.fleet.remote_files import remote_videos
from pipeline.fleet.table import require_pyarrow
from pipeline.fleet.workers import Answer, OpenWork, Task, Workers
from pipeline.json_values import JsonObject
from pipeline.picture.tracking.kinds import refuse_tracker
from pipeline.sources.file_sets import IMAGE_SUFFIXES, FileSet
from pipeline.user_path import exists, is_file, user_path

_NOT_OF_RESULTS = ("sources", "model", "engine", "network", "camera", "decode", "render", "output", "control", "strict")
_MOST_NAMED = 10  # failures on the terminal; all of them are in the folder


def run_map(options: MapOptions) -> int:
    """Do what is missing; 0, or 1 where an input failed.

    Raises a StreamdetError for a model, an input or a folder that will not do, before any work.
    """
    require_pyarrow()
    config = _config(options)
    if options.out is None:
        raise ConfigError("--out must name the folder of the results")
    path, _ = checked_detector(config)
    paths = input_files(options.inputs)
    if isinstance(options.out, Path):
        videos = [path for path in paths if isinstance(path, Path)]
        refuse_folder_of_inputs("--out", str(options.out), {"the videos": videos})
    segment_seconds = None if config.track.kind else options.segment_seconds
    settings = _settings(config, model_digest(path), segment_seconds)
    workers = workers_of(options.engine, OpenMapWork(with_keys(config, {"model": str(path)}), segment_seconds), options)
    with MapFolder(options.out, settings) as folder:
        run = MapRun(folder, workers)
        _run_watched(run, paths)
        _report(run, folder)
    return int(bool(run.failures))


def input_files(words: tuple[str, ...]) -> list[Path | str]:
    """The video files that the words mean, whole paths and addresses. Raises ConfigError where there is none."""
    paths: list[Path | str] = []
    for word in words:
        if is_remote(word):
            paths += remote_videos(word)
            continue
        path = user_path(word)
        if path.suffix == ".parquet" and is_file(path):
            paths += [_path_of(segment.file.path) for segment in read_manifest(path)]
        elif path.suffix == ".txt" and is_file(path):
            paths += FileSet.of_list(path, keeps_missing=True).videos  # which are failures, one by one
        elif is_file(path):
            if path.suffix.lower() in IMAGE_SUFFIXES:
                raise ConfigError(f"{path}: map takes videos; of images use streamdet run")
            paths.append(path)
        else:
            files = FileSet.of(path)
            if not files.videos:
                what = "a folder without a video" if exists(path) else "no file, no folder and no glob that matches"
                raise ConfigError(f"{path}: must be videos, got {what}")
            files.warn_of_others(path, "not videos", read=files.videos)
            paths += files.videos
    return list(dict.fromkeys(path if isinstance(path, str) else path.absolute() for path in paths))


def _path_of(path: str) -> Path | str:
    return path if is_remote(path) else Path(path)


def workers_of(
    engine: str, open_work: OpenWork[Task, Answer], options: MapOptions
) -> Callable[[], Workers[Task, Answer]]:
    """What opens the workers of an engine. Raises ConfigError for a word that means none."""
    if engine == "local":
        return partial(LocalWorkers, open_work, options.workers or available_cores())
    return partial(RayWorkers, open_work, options.workers, ray_address(engine))


def _config(options: MapOptions) -> RunConfig:
    """The configuration of a worker: one thread each, so that as many workers as cores fill them."""
    config = options.config.load()
    if config.model is None:
        raise ConfigError("--model must name the detector: a name of `streamdet models`, or an ONNX file")
    flow = config.flow
    if config.sources or flow.start or flow.end or flow.max_frames or flow.mode == "live":
        raise ConfigError("map reads every input whole; leave sources, flow.start, end, max_frames and live out")
    if config.output != type(config.output)():
        raise ConfigError("map writes Parquet into --out alone; leave output out of the configuration")
    if config.lines or config.zones or config.events != type(config.events)():
        raise ConfigError("map finds objects; count with run, and leave lines, zones and events out")
    if config.then.model is not None:
        raise ConfigError("map runs one model, without then.model; leave it out, or use streamdet run")
    if config.track.kind:
        refuse_tracker(config.track.kind)
    threads = {"engine.threads": config.engine.threads or 1, "decode.threads": config.decode.threads or 1}
    return with_keys(config, threads)


def _settings(config: RunConfig, digest: str, segment_seconds: float | None) -> JsonObject:
    """What the results depend on, by dotted keys; the machine that computes them is not among it."""
    sections = config.model_dump(mode="json", exclude=set(_NOT_OF_RESULTS))
    parts = {name: section for name, section in sections.items() if isinstance(section, dict)}
    dotted = {f"{name}.{key}": value for name, section in parts.items() for key, value in section.items()}
    return {"model": digest, "segment": segment_seconds} | dotted


def _run_watched(run: MapRun, paths: list[Path | str]) -> None:
    """Run with a bar for each kind of work."""
    progress = WorkProgress()
    names = {"index": "reading the times of the files", "detect": "detecting"}
    with ExitStack() as stack:
        shown: dict[str, Phase] = {}

        def step(kind: str, done: int, total: int) -> None:
            if kind not in shown:
                stack.pop_all().close()
                shown[kind] = stack.enter_context(progress.phase(names[kind], total=total))
            shown[kind].at(done, total)

        run.on_step = step
        run.run(paths)


def _report(run: MapRun, folder: MapFolder) -> None:
    segments = folder.segments()
    num_done = len(segments) - len(folder.missing())
    print(f"{num_done} of {len(segments)} segments are in {folder.detections}, {run.num_segments} of this run", end="")
    print(f" ({run.num_frames} frames)")
    for failure in run.failures[:_MOST_NAMED]:
        print(without_controls(f"streamdet: failed: {failure.file}: {failure.reason}", " "), file=sys.stderr)
    if len(run.failures) > _MOST_NAMED:
        print(f"streamdet: failed: {len(run.failures) - _MOST_NAMED} others", file=sys.stderr)
    if run.failures:
        print(f"all failures are in {folder.path}/failed.jsonl; the same command tries them again", file=sys.stderr)
