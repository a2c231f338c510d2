"""Idle decoding of a run: a configuration → by source, what tells it when key frames alone need be decoded."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from pipeline.app.config.run import RunConfig
from pipeline.app.config.source import SourceConfig
from pipeline.app.outputs import OUTPUTS, VIEW
from pipeline.errors import ConfigError
from pipeline.masking import masked_address
from pipeline.sources.idle import Idle
from pipeline.sources.kinds import identity_of, kind_of

_KEY = "gate.decode_idle=key-frames"


def idle_by_url(config: RunConfig, entries: Sequence[SourceConfig]) -> dict[str, Idle]:
    """For each url; none where every picture is decoded. Raises ConfigError for a run that needs every picture."""
    if config.gate.kind is None or config.gate.decode_idle == "every":
        return {}
    _refuse_needed_pictures(config)
    num_entries = Counter(identity_of(entry.url) for entry in entries)
    for entry in entries:
        _refuse_source(config, entry, num_entries[identity_of(entry.url)])
    return {entry.url: Idle(most_gop_seconds=config.gate.full_scan_s) for entry in entries}


def _refuse_needed_pictures(config: RunConfig) -> None:
    for output in OUTPUTS:
        shows_all = output.takes == "rendered" or output is VIEW
        if shows_all and output.target(config) is not None:
            remedy = "add --no-show" if output.role == "window" else "leave one of them out"
            raise ConfigError(
                f"{_KEY} is for runs of which nobody sees every picture, got an output that shows them, {output.role}; "
                f"{remedy}"
            )
    flow = config.flow
    limits = {"--every": flow.every > 1, "--start": flow.start is not None, "--end": flow.end is not None}
    option = next((name for name, is_set in limits.items() if is_set), None)
    if option is not None:
        raise ConfigError(f"{_KEY} must not be used with {option}, because both leave pictures out; drop one of them")
    if config.decode.device != "cpu":
        raise ConfigError(f"{_KEY} needs decode.device=cpu, got {config.decode.device}; leave one of them out")


def _refuse_source(config: RunConfig, entry: SourceConfig, num: int) -> None:
    reason = None
    if not kind_of(entry.url).may_idle:
        reason = "is for video files and streams, got a source of another kind"
    elif config.flow.isolate == "all" or entry.isolate:
        reason = "is for sources that the run itself reads, got one in a process of its own"
    elif entry.detect_url is not None:
        reason = "is for sources of one stream, got one with detect_url"
    elif num > 1:
        reason = f"is for sources that are named once, got one that is named {num} times"
    if reason is not None:
        raise ConfigError(f"{masked_address(entry.url)}: {_KEY} {reason}; leave it out")
