"""Options of `streamdet fleet`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from pipeline.app.logs import LogFormat
from pipeline.app.options import Argument, Flag, comma_separated, duration
from pipeline.errors import ConfigError
from pipeline.fleet.leases import LEASE_SECONDS
from pipeline.fleet.result_kinds import RESULT_KINDS, ResultKind

_LEAST_LEASE_SECONDS = 1.0


def _kinds(text: str, flag: str) -> tuple[ResultKind, ...]:
    words = comma_separated(text, flag)
    kinds = tuple(kind for kind in RESULT_KINDS if kind in words)
    if unknown := [word for word in words if word not in RESULT_KINDS]:
        raise ConfigError(f"{flag} must be some of {', '.join(RESULT_KINDS)}, got {unknown[0]!r}")
    return kinds


def _lease(text: str, flag: str) -> float:
    seconds = duration(text, flag)
    if seconds < _LEAST_LEASE_SECONDS:
        raise ConfigError(f"{flag} must be at least {_LEAST_LEASE_SECONDS:g}s, or workers lose cameras all the time")
    return seconds


@dataclass(frozen=True, slots=True)
class FleetOptions:
    """Run many cameras over processes or machines, for months.

    Cameras of a worker that dies go to the others within seconds, and none is in two places. The file is read again
    where it changes, and on SIGHUP.
    """

    file: Annotated[str, Argument("What `run --config` takes: sources, a model, settings.", "CAMERAS.yaml")]
    out: Annotated[
        Path | None,
        Flag("The folder of the results, and of the generations of the cameras.", metavar="FOLDER"),
    ] = None
    write: Annotated[
        tuple[ResultKind, ...],
        Flag(
            "What is kept there: jsonl, a line for each frame; parquet, a file a minute; or both.",
            metavar="KIND,KIND",
            typed=str,
            parse=_kinds,
            default_text="jsonl",
        ),
    ] = ("jsonl",)
    mqtt: Annotated[
        str | None,
        Flag(
            "Publish the frames with detections or events to a topic of a broker, mqtt://HOST/TOPIC, or mqtts://, "
            "QoS 1; needs the extra mqtt.",
            metavar="URL",
        ),
    ] = None
    nats: Annotated[
        str | None,
        Flag(
            "The same to a subject of a NATS server that a stream of JetStream takes, nats://HOST/SUBJECT, or tls://; "
            "needs the extra nats.",
            metavar="URL",
        ),
    ] = None
    engine: Annotated[
        str,
        Flag(
            "Where workers run: local, on this machine; ray, in the cluster that Ray finds; or ray://HOST.",
            metavar="local|ray|ray://HOST",
        ),
    ] = "local"
    workers: Annotated[
        int | None,
        Flag("Processes, each with a network; by default one for each core, also of nodes that come.", at_least=1),
    ] = None
    lease: Annotated[
        float,
        Flag(
            "How long a worker that is not heard of keeps its cameras; then others get them.",
            metavar="TIME",
            typed=str,
            parse=_lease,
            default_text=f"{LEASE_SECONDS:g}s",
        ),
    ] = LEASE_SECONDS
    metrics: Annotated[
        str | None,
        Flag(
            "Serve a page of all cameras, /metrics and /healthz there, on this machine alone unless a host is named; "
            "needs the extra metrics.",
            metavar="[HOST:]PORT",
        ),
    ] = None
    log_format: Annotated[LogFormat, Flag("How events and warnings are written to stderr.")] = "text"
