"""How frames run through the stages: queues, batches, latency."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from pipeline.app.config.values import Count, Positive, Section, Time
from pipeline.app.options import Flag
from pipeline.meaning import Meaning
from pipeline.sources.options import Isolation


class FlowConfig(Section):
    """How frames travel."""

    mode: Annotated[
        Literal["auto", "live", "every-frame"],
        Flag(
            "Drop old frames for new ones, or process every frame; by default as the source is.",
            ("--live/--every-frame",),
            typed=bool,
            parse=lambda is_live, _: "live" if is_live else "every-frame",
        ),
    ] = "auto"
    rate_fps: Annotated[
        Annotated[float, Field(ge=0.001)] | None,
        Flag("Play recorded sources at this many frames per second, with --live.", ("--rate",)),
    ] = None
    queue_capacity: Annotated[
        Count, Meaning("Frames that may wait before each stage; more only smooths uneven work.")
    ] = 2
    max_age_ms: Annotated[
        Positive | None,
        Meaning("Milliseconds after which a live frame is dropped before the network takes it; null keeps all."),
    ] = 1000.0
    max_latency_ms: Annotated[
        Positive | None,
        Flag(
            "Let a batch of live frames fill up as long as none of them is older than this; with --gate between and no "
            "batch, look at as many live frames as can be before 5 % of them are older.",
            ("--max-latency",),
            metavar="MS",
        ),
    ] = None
    start: Annotated[
        Time | None,
        Flag("Begin there in a video, in seconds or as 1:02:03.5, as a player counts.", metavar="TIME", typed=str),
    ] = None
    end: Annotated[Time | None, Flag("End before that time of a video.", metavar="TIME", typed=str)] = None
    every: Annotated[
        Count, Flag("Detect in every Nth frame; most others of a file are not even decoded.", metavar="N")
    ] = 1
    max_frames: Annotated[Count | None, Flag("Stop after N frames of each source.", metavar="N")] = None
    wait_for_sources: Annotated[
        bool | None,
        Flag(
            "Start without cameras that do not answer, or refuse a password or path, and try them for "
            "network.reconnect_s; by default those that do not answer, with several sources and in live mode.",
            ("--wait-for-sources/--no-wait-for-sources",),
        ),
    ] = None
    isolate: Annotated[
        Isolation,
        Flag(
            "Read sources in processes of their own, so that a driver or decoder that crashes or hangs harms no other: "
            "auto: cameras of this machine; all: videos and streams as well.",
        ),
    ] = "auto"
    grace_s: Annotated[
        Positive,
        Flag(
            "After Ctrl-C or another signal, wait no longer than this for a part that does not return.",
            ("--grace",),
            metavar="SECONDS",
        ),
    ] = 5.0
