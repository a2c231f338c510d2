"""Engines: a configuration and a detector → the engine that runs it, on the device that is meant, and proved.

The one place where an engine for a run is opened. Whatever is not ONNX Runtime's own CPU provider in fp32 is compared
with it before it is used; what was found is remembered by file, machine, versions and settings.
"""

from __future__ import annotations

import hashlib
import logging
import platform
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from functools import cache, partial
from pathlib import Path

from pipeline.app.config.engine import EngineConfig
from pipeline.app.config.loading import with_keys
from pipeline.app.config.run import RunConfig
from pipeline.app.gpu_settings import MOST_BATCH, FixedSettings, GpuSettings, best_settings, blank_rate
from pipeline.app.machine import versions
from pipeline.app.output_paths import files_of_model
from pipeline.app.proof_pictures import proof_pictures
from pipeline.detector.agreement import Agreement, agreement_of, needs_proof
from pipeline.detector.auto_device import Candidate, Choice, open_best
from pipeline.detector.engine import OrtEngine
from pipeline.detector.installation import load_runtime
from pipeline.detector.tensorrt import this_machine
from pipeline.errors import DeviceError
from pipeline.picture.detector_spec import DetectorSpec
from pipeline.picture.frame import Picture
from pipeline.remembered import recall, remember

logger = logging.getLogger(__name__)

# Enough to bridge the gap between two inferences, too little to cost much.
SPIN_US = 200
_KIND = "agreements"

Pictures = Callable[[], Sequence[Picture]]


def open_engine(
    config: RunConfig,
    path: Path,
    spec: DetectorSpec,
    *,
    threads: int | None = None,
    spin_us: int | None = SPIN_US,
    live_sources: int = 0,
    frame_wh: tuple[int, int] | None = None,
    pictures: Pictures | None = None,
) -> tuple[OrtEngine, RunConfig]:
    """The engine, warm, and the configuration with what a trial on a GPU has settled.

    threads, spin_us: of one inference, where the configuration does not say. live_sources: how many there are in a live
    run, 0 in a recorded one. frame_wh: the size of the frames to come. pictures: what it is proved on; by default drawn
    ones and those of the configuration's sources.

    Raises DeviceError for a device that cannot run it, and for one that was requested and detects something else.
    """
    section = config.engine
    pictures = pictures or partial(proof_pictures, config.source_words, as_planes=spec.pixels == "nv12")
    digest = model_digest(path)
    fixed = _fixed_settings(section)

    def opened(candidate: Candidate, settings: GpuSettings, *, for_trial: bool = False) -> OrtEngine:
        engine = OrtEngine(
            path,
            spec,
            device=candidate.device,
            intra_op_threads=section.threads or threads,
            spin_microseconds=spin_us if section.spin_us is None else section.spin_us,
            precision=candidate.precision,
            max_batch=settings.batch,
            cuda_graph=settings.cuda_graph,
            channels_last=settings.channels_last,
        )
        engine.warm_up(frame_wh=frame_wh, batches=engine.batch_sizes[-1:] if for_trial else None)
        return engine

    def prove(engine: OrtEngine, settings: GpuSettings) -> Agreement:
        return _proved(engine, digest, pictures, {**asdict(settings), "precision": engine.precision})

    precision = None if section.precision == "auto" else section.precision
    settings = GpuSettings(**fixed)
    choice: Choice | None = None
    if section.device == "auto":
        choice = open_best(
            lambda candidate: opened(Candidate(candidate.device, precision or candidate.precision), settings),
            partial(prove, settings=settings),
            _run_blank,
            key=(digest, platform.node(), _versions(), precision),
        )
        device, reason = choice.engine.device, choice.reason
    else:
        device, reason = section.device, f"{section.device}: as asked for"
    if device == "cuda" and len(fixed) < len(asdict(settings)):
        open_for_trial = partial(opened, Candidate("cuda", precision), for_trial=True)
        best, why = _settled(open_for_trial, config, spec, digest, fixed, live_sources, frame_wh)
        config = with_keys(config, {f"engine.{name}": value for name, value in asdict(best).items()})
        reason = f"{reason}; {why}"
        if choice is not None and best != settings:
            choice.engine.close()
            choice = None
        settings = best
    engine = opened(Candidate(device, precision), settings) if choice is None else choice.engine
    agreement = None if choice is None else choice.agreement
    engine.reason = reason
    if agreement is None and needs_proof(engine):
        agreement = prove(engine, settings)
    if agreement is not None:
        engine.agreement = str(agreement)
        logger.info("%s in %s: %s", engine.device, engine.precision, agreement)
        if not agreement.passes:
            damage = (
                f"{engine.device} in {engine.precision} does not detect what the CPU detects with {path}: {agreement}"
            )
            if not section.unproved:
                engine.close()
                raise DeviceError(f"{damage}; use --device cpu, or --unproved to run it all the same")
            logger.warning("%s", damage)
    return engine, config


def _fixed_settings(section: EngineConfig) -> FixedSettings:
    """The GPU settings that the user has set."""
    fixed = FixedSettings()
    if section.batch is not None:
        fixed["batch"] = section.batch
    if section.cuda_graph is not None:
        fixed["cuda_graph"] = section.cuda_graph
    if section.channels_last is not None:
        fixed["channels_last"] = section.channels_last
    if section.inflight is not None:
        fixed["inflight"] = section.inflight
    return fixed


def known_agreements(path: Path) -> dict[str, Agreement]:
    """The remembered agreements of a file on this machine, with these versions, by device and settings."""
    memory = recall(_KIND, *_key(model_digest(path))) or {}
    agreements = {}
    for name, values in memory.items():
        try:
            agreements[name] = Agreement.from_json(values)
        except TypeError:  # of another version
            continue
    return agreements


def model_digest(path: Path) -> str:
    """SHA-256 of a model: of its file, and of those in which it keeps its weights."""
    digest = hashlib.sha256()
    for part in files_of_model(path):
        with part.open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()


def _run_blank(engine: OrtEngine) -> None:
    engine.infer_blank()


def _proved(engine: OrtEngine, digest: str, pictures: Pictures, settings: Mapping[str, object]) -> Agreement:
    """How an engine agrees with the reference, as remembered, or found out now."""
    words = ", ".join(f"{name} {value}" for name, value in sorted(settings.items()) if value not in (False, None))
    name = f"{engine.device}: {words}"
    memory = recall(_KIND, *_key(digest)) or {}
    try:
        return Agreement.from_json(memory[name])
    except (KeyError, TypeError):
        pass
    logger.info("%s: compared with ONNX Runtime on the CPU in fp32, once", engine.describe())
    reference = OrtEngine(engine.path, engine.spec, device="cpu")
    agreement = agreement_of(engine, reference, pictures(), batch=max(engine.batch_sizes))
    reference.close()
    remember(_KIND, {**memory, name: agreement.to_json()}, *_key(digest))
    return agreement


def _key(digest: str) -> tuple[object, ...]:
    return digest, platform.node(), _versions()


@cache
def _versions() -> str:
    """What a provider's numbers depend on beside the file."""
    return f"{this_machine(load_runtime().__version__)} {sorted(versions().items())}"


def _settled(
    open_for_trial: Callable[[GpuSettings], OrtEngine],
    config: RunConfig,
    spec: DetectorSpec,
    digest: str,
    fixed: FixedSettings,
    live_sources: int,
    frame_wh: tuple[int, int] | None,
) -> tuple[GpuSettings, str]:
    """The settings that a trial found best on this GPU, and why."""
    section = config.engine
    most_batch = 1 if spec.batch is not None else min(live_sources or MOST_BATCH, MOST_BATCH)
    frame_wh, on_device = frame_wh or spec.network_wh, config.decode.device == "cuda"
    return best_settings(
        open_for_trial,
        fixed=fixed,
        most_batch=most_batch,
        rate=partial(blank_rate, frame_wh=frame_wh, on_device=on_device),
        key=(digest, _versions(), section.precision, frame_wh, on_device),
    )
