"""Where events go: files, webhook, broker, commands, snapshots, clips."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

from pydantic import Field

from pipeline.app.config.values import Positive, Section, checked
from pipeline.app.options import Flag, named_values
from pipeline.meaning import Meaning
from pipeline.picture.counting.selection import Selection
from pipeline.segment_limits import parse_size


def _selected(words: Mapping[str, str]) -> object:
    return [Selection.parse(word) for word in words]


class EventsConfig(Section):
    """Where events at lines and in zones go, and what is kept of them."""

    file: Annotated[
        str | None,
        Flag(
            "Write each event as a JSON line, or as a row of a .csv; - is the standard output.",
            ("--events",),
            metavar="FILE",
        ),
    ] = None
    webhook: Annotated[
        str | None, Flag("POST each event as JSON, again and again until the server has it.", metavar="URL")
    ] = None
    mqtt: Annotated[
        str | None,
        Flag(
            "Publish each event to a topic of a broker, mqtt://HOST/TOPIC, or mqtts://, QoS 1; needs the extra mqtt.",
            metavar="URL",
        ),
    ] = None
    commands: Annotated[
        Annotated[Mapping[str, str], checked(_selected)],
        Flag(
            "Run a command, such as --on 'crossed gate in' ./open.sh, with the event in its environment and on its "
            "standard input; repeatable.",
            ("--on",),
            metavar="EVENT COMMAND",
            typed=list[str],
            parse=lambda words, flag: named_values(words, flag, "--on 'crossed gate' ./open.sh", form="EVENT COMMAND"),
            is_pair=True,
        ),
    ] = {}
    command_limit_s: Annotated[
        Positive, Meaning("Seconds after which a command of --on is ended; four run at once.")
    ] = 30.0
    outbox: Annotated[
        str | None,
        Flag(
            "Keep events that the webhook or broker does not have yet in this folder, for the next run.",
            ("--event-outbox",),
            metavar="FOLDER",
        ),
    ] = None
    snapshots: Annotated[
        str | None, Flag("Write a JPEG of each event's frame, drawn, and one of its object.", metavar="FOLDER")
    ] = None
    clips: Annotated[
        str | None,
        Flag(
            "Write a video of each event, cut from the source's packets, or, with --blur, encoded anew.",
            metavar="FOLDER",
        ),
    ] = None
    clip_before_s: Annotated[
        Annotated[float, Field(ge=0, le=300)],
        Flag(
            "Seconds of a clip before its event, from the key frame before on.", ("--clip-before",), metavar="SECONDS"
        ),
    ] = 5.0
    clip_after_s: Annotated[
        Annotated[float, Field(ge=0, le=300)],
        Flag("Seconds of a clip after its last event.", ("--clip-after",), metavar="SECONDS"),
    ] = 5.0
    clip_memory: Annotated[
        Annotated[str, checked(parse_size)],
        Meaning("Packets that are held for clips, for each source; a clip that needs more begins later."),
    ] = "256MB"
