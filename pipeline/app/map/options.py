"""Options of `streamdet map`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from pipeline.app.config.loading import ConfigRequest
from pipeline.app.options import Argument, ConfigFlags, Flag, duration
from pipeline.fleet.remote_address import is_remote
from pipeline.user_path import user_path


def _out(text: str, flag: str) -> Path | str:
    return text if is_remote(text) else user_path(text)


@dataclass(frozen=True, slots=True)
class MapOptions:
    """Detect in many video files, on many processes or machines.

    Writes Parquet, a row for each segment of a file. The same command again does only what is missing.
    """

    inputs: Annotated[
        tuple[str, ...],
        Argument(
            "Videos, folders, globs, s3://… and its like, lists in a .txt, or a manifest.parquet of another map.",
            "FILE|FOLDER|GLOB...",
        ),
    ]
    out: Annotated[
        Path | str | None,
        Flag(
            "The folder of the results, here or at s3://…; one of an earlier run is completed.",
            metavar="FOLDER",
            typed=str,
            parse=_out,
        ),
    ] = None
    workers: Annotated[
        int | None, Flag("Processes, each with a network; by default one for each core.", metavar="N", at_least=1)
    ] = None
    engine: Annotated[
        str,
        Flag(
            "Where they run: local, on this machine; ray, in the cluster that Ray finds; or ray://HOST.",
            metavar="local|ray|ray://HOST",
        ),
    ] = "local"
    segment_seconds: Annotated[
        float,
        Flag(
            "Cut files at key frames into segments of at least this length.",
            ("--segment",),
            metavar="TIME",
            typed=str,
            parse=duration,
            default_text="60s",
        ),
    ] = 60.0
    config: Annotated[
        ConfigRequest,
        ConfigFlags(("model", "detection", "track.kind", "flow.every", "tiles", "engine.device", "engine.precision")),
    ] = ConfigRequest()
