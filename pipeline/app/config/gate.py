"""What a network need not look at: the gate, and how it is checked."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from pipeline.app.config.values import AboveZeroShare, Positive, Section, Share
from pipeline.app.options import Flag
from pipeline.meaning import Meaning
from pipeline.picture.choices import GateKind, IdleDecoding
from pipeline.picture.gate.pacing import LEAST_BUDGET, MOST_HELD


class GateConfig(Section):
    """Which frames the network need not look at, and how that is checked."""

    kind: Annotated[
        GateKind | None,
        Flag(
            "Let the network look only at frames in which something has changed, for cameras that stand still; the "
            "others carry their objects on. pack: look only at the parts that have changed, in a smaller image; "
            "between: where something moves, look at every 3rd frame, and interpolate its objects in those between; "
            "between-pack: both.",
            ("--gate",),
            bare="frames",
        ),
    ] = None
    full_scan_s: Annotated[
        Positive, Meaning("Seconds of media time after which the network looks at a whole frame, whatever there is.")
    ] = 5.0
    check_share: Annotated[
        Share, Meaning("The share of the frames left out that the network looks at all the same, to count misses.")
    ] = 0.01
    decode_idle: Annotated[
        IdleDecoding,
        Meaning(
            "What of a video or stream is decoded while nothing changes: every picture, or key-frames alone, where no "
            "output shows every picture; what comes is then seen in the next key frame."
        ),
    ] = "every"
    max_miss: Annotated[
        AboveZeroShare,
        Flag(
            "With --gate: the share of the frames that are looked at as a check in which an object may be missing, as "
            "1%; while the upper end of its 95 % interval is higher, the network looks at every frame.",
            metavar="SHARE",
            typed=str,
        ),
    ] = 0.05
    every: Annotated[
        Annotated[int, Field(ge=2, le=MOST_HELD)] | None,
        Flag(
            "With --gate between and between-pack: look at every Nth frame where something moves; 3 if left out.",
            ("--gate-every",),
            metavar="N",
        ),
    ] = None
    budget: Annotated[
        Annotated[AboveZeroShare, Field(ge=LEAST_BUDGET)] | None,
        Flag(
            "With --gate between and between-pack, instead of every Nth frame: look at this share of all frames at "
            "most, as 30%, and at those where most moves.",
            metavar="SHARE",
            typed=str,
        ),
    ] = None
