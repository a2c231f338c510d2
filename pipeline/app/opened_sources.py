"""Opened sources: the sources of a configuration → open streams by name, and what outputs are told of them."""

from __future__ import annotations

import time
from collections.abc import Callable, Container, Hashable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from types import MappingProxyType

from pipeline.app.config.run import RunConfig
from pipeline.app.config.source import SourceConfig
from pipeline.app.output import Feed
from pipeline.errors import ConfigError
from pipeline.masking import masked_address
from pipeline.picture.frame import Frame
from pipeline.sources.abreast import Abreast
from pipeline.sources.idle import Idle
from pipeline.sources.kinds import identity_of, kind_of, source_words
from pipeline.sources.looping import LoopingSource, can_be_read_again
from pipeline.sources.opening import open_source
from pipeline.sources.opening_abreast import open_sources_abreast
from pipeline.sources.options import SourceOptions, Span
from pipeline.sources.packets import HasPackets, SharedPackets
from pipeline.sources.shared import SharedBranch, can_be_shared, shared_by
from pipeline.sources.source import FrameSource, HasFile, HasImages, HasParts
from pipeline.sources.words import source_id_of
from pipeline.stages.capture import Capture


def open_sources(
    config: RunConfig,
    undo: ExitStack | None = None,
    *,
    loops: bool = False,
    entries: Sequence[SourceConfig] | None = None,
    waits: bool | None = None,
    idle: Mapping[str, Idle] = MappingProxyType({}),
) -> dict[str, FrameSource]:
    """The sources of a configuration by the names that they have in its flow; `undo` learns how to close each.

    A camera or a video that is named more than once, in whatever words, is opened once, and its pictures go to each of
    its names.

    loops: whether those that can be read again begin anew where they end. entries: those to open, by default all of
    the configuration. waits: whether those that do not answer are opened later, by default as configured. idle: by url,
    what tells a video when it need decode key frames alone; without one it decodes all.
    Raises a StreamdetError for what cannot be opened.
    """
    start, end = config.flow.start or 0.0, config.flow.end
    if end is not None and end <= start:
        raise ConfigError(f"--end must be later than --start, got {start:g} s to {end:g} s")
    span = Span(start, end)
    flow = config.flow
    options = SourceOptions(
        network=config.network,
        decode=config.decode,
        camera=config.camera,
        span=span,
        max_age_seconds=None if flow.max_age_ms is None or flow.mode == "every-frame" else flow.max_age_ms / 1000,
        isolate=flow.isolate,
    )
    entries = source_entries(config) if entries is None else entries
    groups = _of_one_source(entries)
    words = [group[0].url for group in groups]
    options_of = {
        entry.url: replace(_own_options(group, options), idle=idle.get(entry.url))
        for group in groups
        for entry in group
    }
    detect_urls = _detect_urls(groups, options_of)

    def open_one(word: str) -> FrameSource:
        small = detect_urls.get(word)
        return open_source(word, options=options_of[word]) if small is None else _joined(word, small, options_of[word])

    if waits is None:
        has_time = (len(words) > 1 or flow.mode == "live") and not loops
        waits = has_time if flow.wait_for_sources is None else flow.wait_for_sources
    tries_refused = bool(flow.wait_for_sources)
    opened: Iterable[FrameSource] = map(open_one, words)
    if waits:
        opened = open_sources_abreast(words, options=options, open_one=open_one, tries_refused=tries_refused)
    branches: dict[str, Iterator[FrameSource]] = {}
    for group, source in zip(groups, opened, strict=True):
        group_words = [entry.url for entry in group]
        of_group = _branches_of(group_words, source, open_one, loops=loops, undo=undo)
        branches |= dict.fromkeys(group_words, of_group)
    sources: dict[str, FrameSource] = {}
    for entry in entries:
        source = next(branches[entry.url])
        sources[_free_name(entry.name or source.source_id, sources)] = source
    return sources


def _of_one_source(entries: Sequence[SourceConfig]) -> list[list[SourceConfig]]:
    """Lists of those that mean one source, in whatever words; in order."""
    identities = {entry.url: identity_of(entry.url) for entry in entries}
    groups: dict[Hashable, list[SourceConfig]] = {}
    for entry in entries:
        groups.setdefault(identities[entry.url], []).append(entry)
    return list(groups.values())


def _branches_of(
    words: Sequence[str],
    source: FrameSource,
    open_one: Callable[[str], FrameSource],
    *,
    loops: bool,
    undo: ExitStack | None,
) -> Iterator[FrameSource]:
    """A source for each of the words that mean it: all with the same pictures, or as folders, each opened by itself.

    source: opened by the first of the words.
    """
    is_shared = len(words) > 1 and can_be_shared(source)
    opened = [source, *(open_one(word) for word in words[1:] if not is_shared)]
    if loops and can_be_read_again(words[0], source):
        opened = [LoopingSource(one, partial(open_one, word)) for one, word in zip(opened, words, strict=False)]
    branches: Sequence[FrameSource] = _shared(opened[0], words) if is_shared else opened
    if undo is not None:
        for branch in branches:
            undo.callback(branch.close)
    return iter(branches)


def _shared(source: FrameSource, words: Sequence[str]) -> list[SharedBranch]:
    """The source for each of the words, and called as that says."""
    branches = shared_by(source, len(words))
    for branch, word in zip(branches, words, strict=True):
        if word != words[0]:
            branch.source_id = source_id_of(word)
    return branches


def _own_options(entries: Sequence[SourceConfig], options: SourceOptions) -> SourceOptions:
    """The options of a source that has settings of its own. Raises ConfigError for one that they do not suit.

    entries: one for each of its names, of which the first that sets one counts.
    """
    entry = next((one for one in entries if one.isolate is not None), entries[0])
    if entry.isolate is None:
        return options
    if entry.isolate and kind_of(entry.url).isolation == "never":
        raise ConfigError(
            f"{masked_address(entry.url)}: isolate is for cameras, streams and videos, got a source of another kind; "
            "leave it out"
        )
    return replace(options, isolate="all" if entry.isolate else "none")


def _detect_urls(groups: Sequence[Sequence[SourceConfig]], options_of: Mapping[str, SourceOptions]) -> dict[str, str]:
    """The small streams at which a network looks, by the large ones. Raises ConfigError for what cannot have one."""
    detect_urls: dict[str, str] = {}
    for entry, aliases in ((entry, group) for group in groups for entry in group):
        if entry.detect_url is None:
            continue
        name, options = masked_address(entry.url), options_of[entry.url]
        reason = None
        if options.isolate == "all":
            reason = "is read by the run itself, got isolate; leave one of them out"
        elif options.decode.device != "cpu":
            reason = f"needs decode.device=cpu, got {options.decode.device}; leave one of them out"
        elif "-" in (entry.url, entry.detect_url):
            reason = "must be two files or addresses, got standard input; name them"
        elif source_words(entry.detect_url) != (entry.detect_url,):
            reason = f"must be one stream, got the list {entry.detect_url}; name the one that belongs to url"
        elif len({other.detect_url for other in aliases}) > 1:
            reason = "must be the same wherever url is the same; leave one of the sources out"
        if reason is not None:
            raise ConfigError(f"{name}: a source with detect_url {reason}")
        detect_urls[entry.url] = entry.detect_url
    return detect_urls


def _joined(url: str, detect_url: str, options: SourceOptions) -> FrameSource:
    """Both streams of a camera, as one source."""
    from pipeline.sources.substream import SubstreamSource  # which brings libav along

    options = replace(options, isolate="none")
    with ExitStack() as undo:
        small = open_source(detect_url, options=options)
        undo.callback(small.close)
        large = open_source(url, options=replace(options, span=Span(), key_frames_alone=True))
        undo.callback(large.close)
        source = SubstreamSource(large, small)
        undo.pop_all()
    return source


def source_entries(config: RunConfig) -> list[SourceConfig]:
    """The sources of a configuration, those of a list of streams one by one, in order.

    Raises ConfigError for two of one name, and for the name of a whole list, SourceError for a list that cannot be
    read.
    """
    entries: list[SourceConfig] = []
    for index, entry in enumerate(config.source_configs):
        words = source_words(entry.url)
        if entry.name is not None and words != (entry.url,):
            raise ConfigError(f"sources.{index}.name must name one source, got {entry.name!r} for a list of streams")
        if entry.name is not None and entry.name in {other.name for other in entries}:
            raise ConfigError(f"sources.{index}.name must be another than that of a source before it: {entry.name!r}")
        if entry.url == "-" and any(other.url == "-" for other in entries):
            raise ConfigError("- must be named once: standard input can be read by one source only")
        entries += [entry.model_copy(update={"url": word}) for word in words]
    return entries


def _free_name(name: str, taken: Container[str]) -> str:
    """The name, or where it is that of another source, as of one that was typed twice, with a number."""
    free, number = name, 2
    while free in taken:
        free, number = f"{name}#{number}", number + 1
    return free


def feed_of(name: str, source: FrameSource, *, is_live: bool, config: RunConfig) -> Feed:
    """What outputs are told of a source."""
    rate = source.frames_per_second
    images = source.images if isinstance(source, HasImages) else ()
    part_ids, part_rate = (source.part_ids, source.part_rate) if isinstance(source, HasParts) else ((), None)
    file = source.file if isinstance(source, HasFile) else None
    rate = None if rate is None else rate / config.flow.every
    packets = SharedPackets(source) if isinstance(source, HasPackets) else None
    return Feed(name, rate, is_live, images, part_ids, part_rate, source.size_wh, packets, file)


def unix_seconds(sources: Mapping[str, FrameSource], clock: Callable[[], float], frame: Frame) -> float | None:
    """The wall time at which a camera gave a frame; None of a recorded source. clock: that of the frame."""
    source = sources.get(frame.source_id)
    if source is None or not source.is_live:
        return None
    return time.time() - (clock() - frame.captured_at_seconds)


def refuse_file_of_two_sources(sources: Mapping[str, FrameSource]) -> None:
    """Refuse a file that belongs to two sources, because its frames would bear one name in the records."""
    owners: dict[str, str] = {}
    for name, source in sources.items():
        for frame_id in source.part_ids if isinstance(source, HasParts) else (source.source_id,):
            owner = owners.setdefault(frame_id, name)
            if owner != name and (isinstance(source, HasParts) or isinstance(sources[owner], HasParts)):
                raise ConfigError(f"{frame_id} must be read once, and both {owner} and {name} have it; name it once")


def refuse_rate_without_use(config: RunConfig, sources: Mapping[str, FrameSource], is_live: Mapping[str, bool]) -> None:
    """Refuse a pace where no recorded source plays live. Raises ConfigError."""
    if config.flow.rate_fps is not None and not any(is_live[name] and not sources[name].is_live for name in sources):
        raise ConfigError("flow.rate_fps paces recorded sources that play live; set flow.mode=live, or leave it out")


def captures_of(
    config: RunConfig,
    sources: Mapping[str, FrameSource],
    settings: Mapping[str, SourceConfig],
    is_live: Mapping[str, bool],
    abreast: Abreast | None,
    clock: Callable[[], float],
    idle: Mapping[str, Idle] = MappingProxyType({}),
) -> list[Capture]:
    """The stages that read the sources, with the weights that they have.

    abreast: keeps recorded ones at one time. idle: by source, what it leaves out undecoded; without one nothing.
    """
    captures = [
        Capture(
            source,
            source_id=name,
            is_live=is_live[name],
            frames_per_second=config.flow.rate_fps,
            every=config.flow.every,
            max_frames=config.flow.max_frames,
            abreast=abreast,
            clock=clock,
        )
        for name, source in sources.items()
    ]
    for capture in captures:
        if capture.source_id in settings:
            capture.weight = settings[capture.source_id].weight
        if capture.source_id in idle:
            capture.follow(idle[capture.source_id])
    return captures


def runs_live(source: FrameSource, mode: str) -> bool:
    """Whether a source drops what is too old: as it is, or as the mode says."""
    return source.is_live if mode == "auto" else mode == "live"
