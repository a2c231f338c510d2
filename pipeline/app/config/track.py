"""How objects are followed: the tracker, and its memory."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from pipeline.app.config.values import Count, Section, Share
from pipeline.app.options import Flag
from pipeline.meaning import Meaning
from pipeline.picture.choices import TrackerKind


class TrackConfig(Section):
    """Whether objects are followed from frame to frame, and when tracks begin, match and end."""

    kind: Annotated[
        TrackerKind | None,
        Flag(
            "Follow objects and number them; bytetrack if no tracker is named, the others need the extra track.",
            ("--track",),
            bare="bytetrack",
        ),
    ] = None
    memory_s: Annotated[
        Annotated[float, Field(ge=0)],
        Meaning("Seconds of media time for which an object that is not seen keeps its number."),
    ] = 2.0
    confirm_hits: Annotated[Count, Meaning("Detections in consecutive frames after which an object has a number.")] = 2
    high_score: Annotated[
        Share | None,
        Meaning("Detections from this score on are matched first; the score threshold if left out."),
    ] = None
    start_score: Annotated[
        Share | None, Meaning("A detection from this score on may begin a track; high_score if left out.")
    ] = None
    low_score: Annotated[
        Share, Meaning("Weaker detections from this score on continue a track that no better one matches.")
    ] = 0.1
    match_iou: Annotated[Share, Meaning("The least IoU of a detection and the predicted box that it matches.")] = 0.1
    low_match_iou: Annotated[Share, Meaning("The same of a detection below high_score.")] = 0.1
    sure_share: Annotated[
        Share,
        Meaning(
            "A detection below the score threshold is shown only while this share of its object's detections reach it; "
            "0: always."
        ),
    ] = 0.5
    rejoins: Annotated[
        bool, Meaning("Let an object that was hidden go on where it must be by its motion and size; ByteTrack only.")
    ] = True
    by_class: Annotated[bool, Meaning("Keep the class of a track; false: it may go on as another.")] = True
