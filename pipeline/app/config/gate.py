"""What a network need not look at: the gate, and how it is checked."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from pipeline.app.config.values import Positive, Section, Share
from pipeline.app.options import Flag
from pipeline.meaning import Meaning
from pipeline.picture.choices import GateKind


class GateConfig(Section):
    """Whether frames in which nothing has changed are left out of the network, and how that is checked."""

    kind: Annotated[
        GateKind | None,
        Flag(
            "Let the network look only at frames in which something has changed, for cameras that stand still; the "
            "others carry their objects on. pack: look only at the parts that have changed, in a smaller image.",
            ("--gate",),
            bare="frames",
        ),
    ] = None
    full_scan_s: Annotated[
        Positive, Meaning("Seconds of media time after which the network looks at a whole frame, whatever there is.")
    ] = 5.0
    check_share: Annotated[
        Share, Meaning("The share of frames without change that the network looks at all the same, to count misses.")
    ] = 0.01
    max_miss: Annotated[
        Annotated[float, Field(gt=0, le=1)],
        Meaning(
            "The share of those in which an object may be missing; while the upper end of its 95 % interval is higher, "
            "the network looks at every frame."
        ),
    ] = 0.05
