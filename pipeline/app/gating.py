"""Gating of a run: a configuration and one of its models → the gates of its sources, and what they may not be with."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import replace

from pipeline.app.config.gate import GateConfig
from pipeline.app.config.run import RunConfig
from pipeline.app.suppression import Suppression
from pipeline.errors import ConfigError
from pipeline.picture.choices import GateKind
from pipeline.picture.detector_spec import DetectorSpec
from pipeline.picture.gate.gate import GateOptions
from pipeline.picture.gate.load import Load
from pipeline.picture.gate.packing import Packer, Size
from pipeline.stages.between import GatingBetween
from pipeline.stages.gate import Gating

PACKING: Collection[GateKind] = ("pack", "between-pack")
"""The gates that look at the parts of a frame that have changed, not at all of it."""

BETWEEN: Collection[GateKind] = ("between", "between-pack")
"""The gates that look at some of the frames that change, and interpolate in those between."""

EVERY = 3
"""With those one in that many frames is looked at where something moves, if nothing else is said."""

_MAX_MISS = GateConfig().max_miss
_NUM_STAGES = 4  # between the two halves of a gate: preprocessing, detection, NMS, and the gate itself


def refuse_gate(config: RunConfig) -> None:
    """Raise ConfigError for a gate in a run whose every frame must be looked at, and for its settings without it."""
    if config.gate.kind is None:
        changed = [name for name, value in config.gate if value != getattr(GateConfig(), name)]
        if changed:
            raise ConfigError(f"gate.{changed[0]} is for --gate, which is missing: add --gate, or leave it out")
    elif config.gate.kind not in BETWEEN and (config.gate.every is not None or config.gate.budget is not None):
        raise ConfigError(
            "--gate-every and --budget are for --gate between and between-pack, got "
            f"--gate {config.gate.kind}; take one of those, or leave them out"
        )
    elif config.gate.budget is not None and (config.gate.every is not None or config.gate.max_miss != _MAX_MISS):
        raise ConfigError(
            "--budget must not be used with --gate-every or --max-miss, because each says in its own way how often the "
            "network looks; leave one of them out"
        )
    elif follows_load(config) and config.gate.max_miss != _MAX_MISS:
        raise ConfigError(
            f"--max-latency must not be used with --gate {config.gate.kind} and --max-miss, because the load says "
            "how often the network looks; leave one of them out, or say how often with --gate-every"
        )
    elif config.privacy.is_requested:
        raise ConfigError(
            "--gate must not be used with --blur or --pixelate, because an object that it misses would be shown; leave "
            "one of them out"
        )


def follows_load(config: RunConfig) -> bool:
    """Whether every how many frames of live sources are looked at follows from how old results are."""
    section = config.gate
    is_fixed = section.every is not None or section.budget is not None
    is_batched = (config.engine.batch or 1) > 1  # which waits for as long as it may, and says nothing of the load
    return section.kind in BETWEEN and config.flow.max_latency_ms is not None and not (is_fixed or is_batched)


def refuse_gated(config: RunConfig, command: str) -> None:
    """Raise ConfigError for a gate where speed is measured without what it costs in accuracy."""
    if config.gate.kind is not None:
        raise ConfigError(
            f"{command} lets the network look at every frame, got gate.kind={config.gate.kind}; leave it out, and see "
            "what a gate gains and what it misses with `streamdet compare MODEL --on VIDEO --gated`"
        )


def gating_of(
    config: RunConfig,
    suppression: Suppression,
    spec: DetectorSpec,
    *,
    workers: int,
    recorded: Collection[str],
    canvases_wh: Sequence[Size] = (),
    clock: Callable[[], float] = time.monotonic,
) -> Gating | None:
    """The gates of a model's sources; None: its network looks at every frame.

    spec: of the network that runs, which has the shape of the video where the user's file need not. workers: inferences
    at once. recorded: the sources whose frames may wait for later ones. canvases_wh: the images in
    which parts of a frame are packed; none: none are. clock: that of the frames. `Gate` hears of a result when more
    frames have come than fit between it and that, in the queues and in the stages, each of which takes at most twice as
    many items as it has workers.
    """
    section = config.gate
    if section.kind is None:
        return None
    options = GateOptions(section.full_scan_s, section.check_share, section.max_miss)
    batch = config.engine.batch or 1
    lag = _NUM_STAGES * (max(config.flow.queue_capacity, batch) + 2) + 2 * workers * batch
    packer = Packer(spec.network_wh, tuple(canvases_wh)) if canvases_wh else None
    if section.kind in BETWEEN:
        options = replace(options, every=section.every or EVERY, budget=section.budget)
        limit_ms = config.flow.max_latency_ms if follows_load(config) else None
        load = None if limit_ms is None else Load(limit_ms / 1000, every=EVERY, clock=clock)
        return GatingBetween(
            options, suppression.shown_of, packer=packer, resize=spec.resize, recorded=recorded, lag=lag, load=load
        )
    return Gating(options, suppression.shown_of, packer=packer, resize=spec.resize, lag=lag)
