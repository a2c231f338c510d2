"""Video outputs: the request for a recording, segments, images, a stream or a mosaic → its sink."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from pipeline.app.config.run import RunConfig
from pipeline.app.output import Feed, Output, SinkRequest, frame_ids_of, is_annotated, is_folder, recording_paths
from pipeline.app.output_paths import make_folder
from pipeline.app.stages import Limit
from pipeline.errors import ConfigError, SinkError
from pipeline.flow.stage import Sink
from pipeline.picture.detections import RenderedFrame
from pipeline.segment_limits import SegmentLimit, parse_segment, parse_size
from pipeline.sinks.network.address import StreamAddress, is_address
from pipeline.sinks.picture_names import source_stems

if TYPE_CHECKING:  # brings libav along
    from pipeline.sinks.soundtrack import SoundSource


_MOST_MOSAIC_FPS = 30.0
_MOSAIC_FPS_OF_IMAGES = 10.0


def _open_recording(request: SinkRequest) -> Sink[RenderedFrame]:
    assert request.feed is not None
    _refuse_no_suffix(request.target)
    return _recording(request, request.target, request.feed)


def _refuse_no_suffix(path: str) -> None:
    if not Path(path).suffix:
        raise SinkError(
            "--output must be a video (.mp4, .mkv, .mov, .webm), an image, or a folder, which ends in a slash "
            f"({path}/), got {path}"
        )


def _sound_of(request: SinkRequest) -> SoundSource | None:
    """The sound of a file, where a recording keeps it."""
    feed = request.feed
    if feed is None or feed.file is None or feed.is_live or not request.config.output.sound:
        return None
    from pipeline.sources.video.sound import Sound

    return Sound.of(feed.file)


def _open_recordings(request: SinkRequest) -> Sink[RenderedFrame]:
    """The recording of a source, or one after another of the files that it reads."""
    from pipeline.sinks.annotated import Recordings

    assert request.feed is not None
    return Recordings(partial(_record, request)) if request.feed.part_ids else _open_recording(request)


def _open_annotated(request: SinkRequest) -> Sink[RenderedFrame]:
    from pipeline.sinks.annotated import AnnotatedFolder, AnnotatedImage, refuse_image

    if is_folder(request.target):
        return AnnotatedFolder(request.target, names=request.picture_names(), record=partial(_record, request))
    refuse_image(
        request.target,
        num_images=sum(len(feed.images) for feed in request.feeds),
        videos=[source_id for feed in request.feeds for source_id in feed.recorded_ids],
    )
    return AnnotatedImage(request.target)


def _record(request: SinkRequest, source_id: str) -> Sink[RenderedFrame]:
    """The recording of one source or file."""
    return _open_recording(_of_part(request, source_id))


def _of_part(request: SinkRequest, source_id: str) -> SinkRequest:
    """The request for the recording of one source or file."""
    assert request.feed is not None
    assert request.config.output.video is not None
    path = recording_paths(request.config.output.video, frame_ids_of(request.feeds))[source_id]
    if is_folder(request.target):
        make_folder("--output", Path(path).parent)
    feed = request.feed
    if feed.part_rate is not None:
        rate = feed.part_rate(source_id)
        feed = replace(feed, frames_per_second=None if rate is None else rate / request.config.flow.every)
    if feed.part_ids and source_id in feed.recorded_ids:
        feed = replace(feed, file=Path(source_id))
    return replace(request, target=path, feed=feed)


def _open_segments(request: SinkRequest) -> Sink[RenderedFrame]:
    """The segments of a source, or one after another of the files that it reads."""
    from pipeline.sinks.annotated import Recordings

    assert request.feed is not None
    if request.feed.part_ids:
        return Recordings(lambda source_id: _segments(_of_part(request, source_id)))
    return _segments(_of_part(request, request.feed.source_id))


def _segments(request: SinkRequest) -> Sink[RenderedFrame]:
    from pipeline.sinks.segment_archive import shared_archive
    from pipeline.sinks.segmented import SegmentedRecording

    output, feed, path = request.config.output, request.feed, Path(request.target)
    assert feed is not None
    assert output.video is not None
    assert output.segment is not None
    _refuse_no_suffix(request.target)
    archive = shared_archive(
        segment_index(output.video), keep=SegmentLimit.of(output.keep), min_free_bytes=parse_size(output.min_free)
    )
    try:
        part = path.with_name(f"{path.stem}.part{path.suffix}")
        _recording(request, str(part), feed).close()  # whether it can be recorded
        return SegmentedRecording(
            path,
            open_recording=lambda part: _recording(request, str(part), feed),
            archive=archive,
            limit=parse_segment(output.segment),
            pattern=output.segment_name,
            is_live=feed.is_live,
        )
    except BaseException:
        archive.leave()
        raise


def segment_index(video: str) -> Path:
    """The index of the segments of all sources: out.segments.jsonl beside out.mp4, out/segments.jsonl of out/."""
    return Path(video) / "segments.jsonl" if is_folder(video) else Path(video).with_suffix(".segments.jsonl")


def _segment_index_of(request: SinkRequest) -> Sequence[str]:
    assert request.config.output.video is not None
    return [str(segment_index(request.config.output.video))]


def _recorded_files(request: SinkRequest) -> Sequence[str]:
    """The recordings of one source or of the files that it reads."""
    assert request.feed is not None
    assert request.config.output.video is not None
    paths = recording_paths(request.config.output.video, frame_ids_of(request.feeds))
    return [paths[frame_id] for frame_id in request.feed.frame_ids]


def _annotated_files(request: SinkRequest) -> Sequence[str]:
    """The images and recordings that an annotated folder gets of one source, or the one image."""
    from pipeline.sinks.annotated import image_paths

    assert request.feed is not None
    if not is_folder(request.target):
        return [request.target]
    images = image_paths(request.target, request.feed.images, request.picture_names())
    paths = recording_paths(request.target, frame_ids_of(request.feeds))
    return images + [paths[source_id] for source_id in request.feed.recorded_ids]


def _open_stream(request: SinkRequest) -> Sink[RenderedFrame]:
    assert request.feed is not None
    address = StreamAddress.parse(request.target)
    if len(request.feeds) > 1:
        address = address.of_source(source_stems([feed.source_id for feed in request.feeds])[request.feed.source_id])
    return _stream(request, address, request.feed)


def _open_mosaic(request: SinkRequest) -> Sink[RenderedFrame]:
    from pipeline.sinks.joined import SOURCE_ID, Joined

    feeds, output = {feed.source_id: feed for feed in request.feeds}, request.config.output
    is_live = any(feed.is_live for feed in request.feeds)
    if is_live and not all(feed.is_live for feed in request.feeds):
        raise ConfigError("--mosaic needs sources that are all live or all recorded; --live plays files as cameras do")
    rates = [feed.frames_per_second for feed in request.feeds if feed.frames_per_second is not None]
    rate = output.mosaic_fps or min(max(rates, default=_MOSAIC_FPS_OF_IMAGES), _MOST_MOSAIC_FPS)
    width, height = map(int, output.mosaic_size.lower().split("x"))
    joined_feed = Feed(SOURCE_ID, rate, is_live)

    def end_seconds(name: str) -> float | None:
        end = feeds[name].end_seconds
        return None if end is None else end()

    address = StreamAddress.parse(request.target) if is_address(request.target) else None
    return Joined(
        _recording(request, request.target, joined_feed) if address is None else _stream(request, address, joined_feed),
        sizes_wh={name: feed.size_wh for name, feed in feeds.items()},
        most_wh=(width, height),
        frames_per_second=rate,
        is_live=is_live,
        end_seconds=end_seconds,
    )


def _recording(request: SinkRequest, path: str, feed: Feed) -> Sink[RenderedFrame]:
    from pipeline.sinks.recording import Recording

    output = request.config.output
    return Recording(
        path,
        frames_per_second=feed.frames_per_second,
        is_live=feed.is_live,
        codec=output.codec,
        preset=output.preset,
        sound=_sound_of(request),
    )


def _stream(request: SinkRequest, address: StreamAddress, feed: Feed) -> Sink[RenderedFrame]:
    from pipeline.sinks.network.stream import NetworkStream

    output = request.config.output
    return NetworkStream(
        address,
        frames_per_second=feed.frames_per_second,
        is_live=feed.is_live,
        codec=output.codec,
        preset=output.preset,
        patience_seconds=request.config.network.open_timeout_s,
    )


def _of_video(config: RunConfig) -> Literal["record", "segments", "annotate", "stream", "mosaic"]:
    """The role of the output that writes `output.video`."""
    if config.output.mosaic:
        return "mosaic"
    if is_address(config.output.video):
        return "stream"
    if config.output.segment is not None:
        return "segments"
    return "annotate" if is_annotated(config.output.video) else "record"


def _of_recording(limit: Limit) -> str:
    from pipeline.sinks.encoder import encoder_failure

    chosen = limit.config.output
    if chosen.codec == "libx264" and encoder_failure("h264_nvenc") is None:
        return "record on the GPU (--set output.codec=h264_nvenc) or leave -o out"
    if chosen.preset not in (None, "ultrafast"):
        return "leave output.preset out, which takes the fastest, or leave -o out"
    return "leave -o out, or record smaller pictures"


RECORDING = Output(
    role="record",
    takes="rendered",
    target=lambda config: config.output.video if _of_video(config) == "record" else None,
    open=_open_recordings,
    advice=_of_recording,
    colour="#e45756",
    file_option="--output",
    files=_recorded_files,
    per_source=True,
    takes_planes=True,
)
SEGMENTS = Output(
    role="segments",
    takes="rendered",
    target=lambda config: config.output.video if _of_video(config) == "segments" else None,
    open=_open_segments,
    advice=_of_recording,
    colour="#b5423c",
    file_option="--output",
    files=_segment_index_of,
    appends=lambda _: True,
    per_source=True,
    takes_planes=True,
)
ANNOTATED = Output(
    role="annotate",
    takes="rendered",
    target=lambda config: config.output.video if _of_video(config) == "annotate" else None,
    open=_open_annotated,
    advice="write JPEG instead of PNG, to a faster disk, or leave -o out",
    colour="#d37295",
    file_option="--output",
    files=_annotated_files,
    per_source=True,
    takes_planes=True,
)
STREAM = Output(
    role="stream",
    takes="rendered",
    target=lambda config: config.output.video if _of_video(config) == "stream" else None,
    open=_open_stream,
    advice="a file is sent at its own pace, as a camera would; record it (-o out.mp4) to be done sooner",
    colour="#ffbf79",
    per_source=True,
    takes_planes=True,
)
MOSAIC = Output(
    role="mosaic",
    takes="rendered",
    target=lambda config: config.output.video if _of_video(config) == "mosaic" else None,
    open=_open_mosaic,
    advice="make it smaller (--set output.mosaic_size=1280x720) or slower (--set output.mosaic_fps=10)",
    colour="#54a24b",
    file_option="--output",
)
