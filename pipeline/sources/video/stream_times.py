"""Stream times: the timestamps of a video → seconds of the media, and when its camera gave each picture."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from av.packet import Packet
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from pipeline.sources.video.camera_clock import CameraClock
from pipeline.sources.video.catch_up import CatchUp
from pipeline.sources.video.header import Header
from pipeline.sources.video.media_clock import MediaClock
from pipeline.sources.video.opening import OpenVideo
from pipeline.sources.video.playlist_clock import PlaylistClock
from pipeline.sources.video.wall_clock import wall_clock_seconds


@dataclass(frozen=True, slots=True)
class StreamTimes:
    """What a container declares, and the clocks that such a stream needs."""

    header: Header
    media_clock: MediaClock | None  # of a stream whose timestamps may jump
    camera: CameraClock | PlaylistClock | None  # of a live stream with times
    catch_up: CatchUp | None  # of one of which old pictures are skipped

    @classmethod
    def of(
        cls, video: OpenVideo, *, is_live: bool, max_age_seconds: float | None, clock: Callable[[], float]
    ) -> StreamTimes:
        """Of an open video. max_age_seconds: None: nothing is skipped. clock: monotonic seconds."""
        header = Header.of(video.container, video.stream, is_live=is_live)
        camera: CameraClock | PlaylistClock | None = None
        catch_up = None
        if header.is_playlist and header.has_times:
            camera = PlaylistClock(clock=clock)
        elif header.is_live and header.has_times:
            most_held = None if max_age_seconds is None else max_age_seconds / 2
            camera = CameraClock(clock=clock, num_held=header.num_held, most_held_seconds=most_held)
        if camera is not None and max_age_seconds is not None:
            catch_up = CatchUp(camera, max_age_seconds=max_age_seconds, clock=clock)
        return cls(header, header.media_clock(clock), camera, catch_up)

    @property
    def damage(self) -> tuple[str, ...]:
        """A line for each kind of jump and delay."""
        of_clock = self.media_clock.damage if self.media_clock else ()
        return (*of_clock, *(self.catch_up.damage if self.catch_up else ()))

    def media_seconds(self, frame: VideoFrame) -> float | None:
        """The media time of a frame; None where it has no timestamp."""
        stamp = frame.dts if frame.pts is None else frame.pts
        return None if stamp is None else float(stamp * self.header.time_base)

    def given_at_seconds(self, frame: VideoFrame) -> float | None:
        """When the camera gave a frame, by the clock; None where its stream does not tell."""
        seconds = self.media_seconds(frame)
        return None if self.camera is None or seconds is None else self.camera.given_at_seconds(seconds)

    def is_worth_decoding(self, packet: Packet[VideoStream], *, waited_seconds: float) -> bool:
        """Whether a packet that has just been read is recent enough, where that matters. waited_seconds: for it."""
        stamp = packet.dts if packet.pts is None else packet.pts
        if self.camera is None or stamp is None:
            return True
        seconds = float(stamp * self.header.time_base)
        given_at = wall_clock_seconds(packet)
        if given_at is not None and isinstance(self.camera, CameraClock):
            self.camera.note_wall_clock(time.time() - given_at)
        if self.catch_up is None:
            self.camera.arrive(seconds, waited_seconds=waited_seconds)
            return True
        return self.catch_up.is_worth_decoding(seconds, is_keyframe=packet.is_keyframe, waited_seconds=waited_seconds)
