"""Event outputs: the request for a file, a webhook, a broker, commands, snapshots or clips of events → its sink."""

from __future__ import annotations

import hashlib
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.app.config.events import EventsConfig
from pipeline.app.config.run import RunConfig
from pipeline.app.counting import counts_something
from pipeline.app.event_selections import refuse_impossible_events
from pipeline.app.output import Feed, Output, SinkRequest, frame_ids_of
from pipeline.errors import ConfigError, SinkError
from pipeline.flow.stage import Sink
from pipeline.picture.counting.selection import Selection
from pipeline.picture.detections import Result
from pipeline.segment_limits import parse_size
from pipeline.sinks.events.delivery import Carrier, Delivery
from pipeline.sinks.events.outbox import Outbox
from pipeline.sinks.events.receivers import EventReceiver, SeveralReceivers
from pipeline.sinks.picture_names import source_stems

if TYPE_CHECKING:  # brings libav along
    from pipeline.sinks.soundtrack import SoundSource

_COMMANDS_AT_ONCE = 4


def private_packets(config: RunConfig) -> str | None:
    """Why a source's own packets must be given to nobody; None: they may."""
    return "what is private is concealed in pictures only" if config.privacy.is_requested else None


def refuse_useless_events(config: RunConfig, *, takes_shapes: bool) -> None:
    """Raise ConfigError for outputs of events where there are none, and for settings of outputs that there are not.

    takes_shapes: whether lines and zones may come later.
    """
    events = config.events
    rows = (EVENT_FILE, WEBHOOK, MQTT, COMMANDS, SNAPSHOTS, CLIPS)
    requested = next((output for output in rows if output.target(config) is not None), None)
    if requested is not None and not counts_something(config):
        flag = "--on" if requested is COMMANDS else f"--{requested.role}"
        raise ConfigError(
            f"{flag} is for events at lines and in zones, and there are none: add --line gate=0.5,0,0.5,1 or --zone"
        )
    refuse_impossible_events(config, takes_shapes=takes_shapes)
    usual = EventsConfig()
    is_usual = (events.clip_before_s, events.clip_after_s) == (usual.clip_before_s, usual.clip_after_s)
    if events.clips is None and not is_usual:
        raise ConfigError("--clip-before and --clip-after are for --clips, which is missing: add --clips FOLDER")
    if events.outbox is not None and events.webhook is None and events.mqtt is None:
        raise ConfigError("--event-outbox is for --webhook and --mqtt, and there is none: add one, or leave it out")


def _open_file(request: SinkRequest) -> Sink[Result]:
    from pipeline.sinks.events.lines import EventLines
    from pipeline.sinks.events.table import EventTable

    append = request.config.output.append
    if request.target == "-" and request.config.output.jsonl == "-":
        raise SinkError("--events - and --jsonl - must not both be standard output; name a file for one of them")
    is_table = Path(request.target).suffix.lower() == ".csv"
    return EventTable(request.target, append=append) if is_table else EventLines(request.target, append=append)


def _open_webhook(request: SinkRequest) -> Sink[Result]:
    from pipeline.sinks.events.webhook import Webhook

    return _receiver(request, Webhook(request.target))


def _open_mqtt(request: SinkRequest) -> Sink[Result]:
    from pipeline.sinks.events.mqtt import MqttTopic

    return _receiver(request, MqttTopic(request.target))


def _receiver(request: SinkRequest, carrier: Carrier) -> EventReceiver:
    """A sink whose messages wait in memory, or in a file of the receiver's own, named without its secrets."""
    folder = request.config.events.outbox
    try:
        if folder is None:
            return EventReceiver(Delivery(carrier, Outbox()))
        name = hashlib.blake2b(carrier.name.encode(), digest_size=8).hexdigest()
        return EventReceiver(Delivery(carrier, Outbox(Path(folder) / f"{name}.sqlite"), keeps=folder))
    except BaseException:
        carrier.close()
        raise


def _open_commands(request: SinkRequest) -> Sink[Result]:
    from pipeline.sinks.events.command import Command

    limit_seconds = request.config.events.command_limit_s
    commands = [
        (Selection.parse(words), Command(line, name=f"--on {words!r}", limit_seconds=limit_seconds))
        for words, line in request.config.events.commands.items()
    ]
    return SeveralReceivers(
        [
            EventReceiver(Delivery(command, Outbox(), workers=_COMMANDS_AT_ONCE), selection)
            for selection, command in commands
        ]
    )


def _open_snapshots(request: SinkRequest) -> Sink[Result]:
    from pipeline.sinks.events.snapshots import Snapshots

    return Snapshots(request.target, names=request.picture_names(), look=request.config.render.look())


def _open_clips(request: SinkRequest) -> Sink[Result]:
    from pipeline.clips.clips import ClipOptions, Clips

    feed, events = request.feed, request.config.events
    assert feed is not None
    stems = source_stems(frame_ids_of(request.feeds))
    is_private = private_packets(request.config) is not None
    return Clips(
        request.target,
        ClipOptions(events.clip_before_s, events.clip_after_s, parse_size(events.clip_memory)),
        stem_of=lambda source_id: stems.get(source_id) or source_stems([source_id])[source_id],
        packets=None if is_private else feed.packets,
        open_sound=partial(_sound_of, request.config, feed),
        frames_per_second=feed.frames_per_second,
    )


def _sound_of(config: RunConfig, feed: Feed) -> SoundSource | None:
    """The sound of a file, where recordings keep it."""
    if feed.file is None or not config.output.sound:
        return None
    from pipeline.sources.video.sound import Sound

    return Sound.of(feed.file)


EVENT_FILE = Output(
    role="events",
    takes="result",
    target=lambda config: config.events.file,
    open=_open_file,
    advice="write the events to a faster disk",
    colour="#6b4c9a",
    file_option="--events",
    appends=lambda config: config.output.append,
)
WEBHOOK = Output(
    role="webhook",
    takes="result",
    target=lambda config: config.events.webhook,
    open=_open_webhook,
    advice="name a faster disk for --event-outbox",
    colour="#8c6bb1",
)
MQTT = Output(
    role="mqtt",
    takes="result",
    target=lambda config: config.events.mqtt,
    open=_open_mqtt,
    advice="name a faster disk for --event-outbox",
    colour="#9e9ac8",
)
COMMANDS = Output(
    role="commands",
    takes="result",
    target=lambda config: ", ".join(config.events.commands) or None,
    open=_open_commands,
    advice="run fewer commands (--on)",
    colour="#bcbddc",
)
SNAPSHOTS = Output(
    role="snapshots",
    takes="result",
    target=lambda config: config.events.snapshots,
    open=_open_snapshots,
    advice="write the snapshots to a faster disk, or leave them out",
    colour="#807dba",
    file_option="--snapshots",
    names_files=True,
)
CLIPS = Output(
    role="clips",
    takes="result",
    target=lambda config: config.events.clips,
    open=_open_clips,
    advice="write the clips to a faster disk, or leave --blur out, with which they are encoded",
    colour="#54278f",
    file_option="--clips",
    names_files=True,
    per_source=True,
)
