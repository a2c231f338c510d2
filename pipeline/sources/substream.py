"""SubstreamSource: two streams of one camera → the times and pixels of the small one, and pictures of the large one.

A network looks at the small stream, every picture of which is decoded. Of the large one a thread reads the packets,
which clips and the live page take as they are, and decodes key frames alone, until somebody looks at a picture.
Recorded streams are joined by their media times; live ones by when the camera gave each picture.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np

from pipeline.errors import SourceError
from pipeline.flow.stage import CountsSkipped, Stop
from pipeline.picture.frame import ColourOrder, Picture, PixelArray, TimedPicture
from pipeline.picture.gate.luma import HasLuma, LumaArray
from pipeline.picture.i420 import I420, HasI420
from pipeline.picture.pixel_aspect import pixel_aspect_of
from pipeline.sources.packets import CodedPacket, CodedStream, HasPackets, PacketListener
from pipeline.sources.source import FrameSource, HasFile
from pipeline.sources.states import HasStates, SourceStates
from pipeline.sources.video.forward_times import ForwardTimes
from pipeline.sources.video.on_request import Gop, PicturesOnRequest

_AHEAD_SECONDS = 2.0  # of media time, by which the packets of a recorded stream are read before the small picture
_BEHIND_SECONDS = 1.0  # that a small picture waits for: what is shown before it may be coded after it
_LOOK_SECONDS = 0.1  # between two looks at whether the run wants to end
_MOST_JITTER_SECONDS = 0.05  # of what both streams say of when a picture was given


class SubstreamSource:
    """A camera's large stream, and its small one, at which a network looks. Owns both.

    Raises SourceError where the streams cannot be one camera's: one is live and the other recorded, or the large one
    gives no packets of upright pictures.

    large: was opened to decode key frames alone.
    """

    def __init__(self, large: FrameSource, small: FrameSource, *, clock: Callable[[], float] = time.monotonic) -> None:
        self.source_id, self.size_wh, self.is_live = large.source_id, large.size_wh, small.is_live
        self._large, self._small, self._clock = large, small, clock
        self._num_enlarged = 0
        self._listener: PacketListener | None = None
        self._reader: _Reader | None = None
        self.states = small.states if isinstance(small, HasStates) else SourceStates(is_live=self.is_live, clock=clock)
        if large.is_live != small.is_live:
            live, recorded = (large, small) if large.is_live else (small, large)
            raise SourceError(
                f"{self.source_id}: url and detect_url must be two streams of one camera, got a live one, "
                f"{live.source_id}, and a recorded one, {recorded.source_id}"
            )
        if not isinstance(large, HasPackets) or self.size_wh is None:
            raise SourceError(f"{self.source_id}: a source with detect_url must be a video or a stream; leave it out")

    @property
    def frames_per_second(self) -> float | None:
        return self._small.frames_per_second

    @property
    def num_frames(self) -> int | None:
        return self._small.num_frames

    @property
    def num_skipped(self) -> int:
        """Frames of the small stream that were left out undecoded because they came too late."""
        return self._small.num_skipped if isinstance(self._small, CountsSkipped) else 0

    @property
    def file(self) -> Path | None:
        """The file of the large stream, which has the sound."""
        return self._large.file if isinstance(self._large, HasFile) else None

    @property
    def damage(self) -> tuple[str, ...]:
        lines = (*self._large.damage, *(f"detect_url: {line}" for line in self._small.damage))
        if not self._num_enlarged:
            return lines
        return (*lines, f"shown pictures that the large stream lacks, enlarged from detect_url: {self._num_enlarged}")

    def keep_states(self, states: SourceStates) -> None:
        """Write into these from now on."""
        self.states = states
        if isinstance(self._small, HasStates):
            self._small.keep_states(states)

    def listen(self, listener: PacketListener) -> None:
        self._listener = listener

    def pictures(self, stop: Stop, *, every: int = 1) -> Iterator[TimedPicture]:
        reader = self._reader = _Reader(self._large, self._listener, is_live=self.is_live, clock=self._clock)
        times = ForwardTimes(step_seconds=every / (self.frames_per_second or 25.0))
        shift: float | None = None
        try:
            for timed in self._small.pictures(stop, every=every):
                if not reader.wait_for(timed.pts_seconds, stop):
                    return
                shift = self._shift(timed, reader, shift)
                seconds = times.next(timed.pts_seconds + shift)
                picture = SubstreamPicture(timed.picture, self._size_wh, reader.gop_at(seconds), seconds, self._enlarge)
                yield timed._replace(picture=picture, pts_seconds=seconds)
        finally:
            reader.end()

    def close(self) -> None:
        if self._reader is not None:
            self._reader.end()
        self._large.close()
        self._small.close()

    @property
    def _size_wh(self) -> tuple[int, int]:
        assert self.size_wh is not None
        return self.size_wh

    def _shift(self, timed: TimedPicture, reader: _Reader, before: float | None) -> float:
        """By how much the media times of the small stream lie before those of the large one."""
        if not self.is_live:
            return 0.0
        given_at = self._clock() if timed.captured_at_seconds is None else timed.captured_at_seconds
        shift = given_at - reader.zero_seconds - timed.pts_seconds
        return shift if before is None or abs(shift - before) > _MOST_JITTER_SECONDS else before

    def _enlarge(self, picture: Picture) -> PixelArray:
        """The pixels of a picture that the large stream lacks, in its size."""
        self._num_enlarged += 1
        return np.asarray(cv2.resize(picture.pixels, self._size_wh, interpolation=cv2.INTER_LINEAR), np.uint8)


class SubstreamPicture:
    """A picture of the small stream, of the size and with the pixels that it has in the large one.

    What is smaller than that is made of the small one. gop: of the large picture, None: it was not heard. enlarge:
    makes pixels where the large picture is missing.
    """

    __slots__ = ("_enlarge", "_gop", "_large", "_lock", "_pixels", "_seconds", "_small", "size_wh")

    def __init__(
        self,
        small: Picture,
        size_wh: tuple[int, int],
        gop: Gop | None,
        seconds: float,
        enlarge: Callable[[Picture], PixelArray],
    ) -> None:
        self.size_wh = size_wh
        self._small, self._gop, self._seconds, self._enlarge = small, gop, seconds, enlarge
        self._lock = threading.Lock()
        self._large: Picture | None = None
        self._pixels: PixelArray | None = None

    @property
    def pixels(self) -> PixelArray:
        large = self._large_picture()
        if large is not None and large.size_wh == self.size_wh:
            return large.pixels
        with self._lock:
            if self._pixels is None:
                self._pixels = self._enlarge(self._small) if large is None else self._fitted(large)
                self._pixels.flags.writeable = False
            return self._pixels

    @property
    def pixel_aspect(self) -> Fraction:
        """Width over height of the pixels of the large picture."""
        large = self._large_picture()
        return pixel_aspect_of(self._small if large is None else large)

    def copy_pixels(self) -> PixelArray:
        return self.pixels.copy()

    def resized(self, size_wh: tuple[int, int], *, colour: ColourOrder) -> PixelArray:
        return self._small.resized(size_wh, colour=colour)

    def luma(self, step: int) -> LumaArray | None:
        step = max(1, step * self._small.size_wh[1] // self.size_wh[1])
        return self._small.luma(step) if isinstance(self._small, HasLuma) else None

    def copy_i420(self) -> I420 | None:
        large = self._large_picture()
        is_same = isinstance(large, HasI420) and large.size_wh == self.size_wh
        return large.copy_i420() if is_same and isinstance(large, HasI420) else None

    def _fitted(self, large: Picture) -> PixelArray:
        """The pixels of a stream that has got another size, in that of the source."""
        return np.array(large.resized(self.size_wh, colour="bgr"))

    def _large_picture(self) -> Picture | None:
        with self._lock:
            if self._gop is not None:
                self._large, self._gop = self._gop.picture(self._seconds), None
            return self._large


class _Reader:
    """Reads the packets of the large stream in a thread; of a recorded one, not far ahead of the small one."""

    def __init__(
        self, large: FrameSource, listener: PacketListener | None, *, is_live: bool, clock: Callable[[], float]
    ) -> None:
        assert isinstance(large, HasPackets)
        self._large, self._listener, self._is_live, self._clock = large, listener, is_live, clock
        self._on_request = PicturesOnRequest()
        self._changed = threading.Condition()
        self._heard_seconds = self._reached_seconds = -math.inf  # of the large and the small stream
        self._zero_seconds: float | None = None
        self._has_ended = False
        self._failure: Exception | None = None
        self._over = threading.Event()
        large.listen(self)
        self._thread = threading.Thread(target=self._run, name=f"packets of {large.source_id}", daemon=True)
        self._thread.start()

    @property
    def zero_seconds(self) -> float:
        """When the camera gave what has media time 0 in the large stream, on the clock of the run."""
        assert self._zero_seconds is not None
        return self._zero_seconds

    def gop_at(self, seconds: float) -> Gop | None:
        """The GOP of the large stream that has that time."""
        return self._on_request.gop_at(seconds)

    def wait_for(self, seconds: float, stop: Stop) -> bool:
        """Wait until what belongs to a small picture has been read; False: the run wants to end.

        Raises SourceError where the large stream failed.
        """
        with self._changed:
            self._reached_seconds = seconds
            self._changed.notify_all()
            while not (self._has_ended or self._is_ready(seconds)):
                if stop.is_set():
                    return False
                self._changed.wait(_LOOK_SECONDS)
            if self._failure is not None:
                raise self._failure
        return True

    def end(self) -> None:
        """Stop reading; returns when the thread has ended. May be called more than once."""
        self._over.set()
        with self._changed:
            self._changed.notify_all()
        self._thread.join()

    def begin(self, stream: CodedStream) -> None:
        if stream.obstacle is not None:  # not raised, because a live stream would be opened again
            self._failure = SourceError(
                f"{self._large.source_id}: a source with detect_url must give packets that show its pictures, and "
                f"{stream.obstacle}; leave detect_url out"
            )
            self._over.set()
        self._on_request.begin(stream)
        if self._listener is not None:
            self._listener.begin(stream)

    def take(self, packet: CodedPacket, pts_seconds: float | None) -> None:
        self._on_request.take(packet, pts_seconds)
        if self._listener is not None:
            self._listener.take(packet, pts_seconds)
        if pts_seconds is None or self._is_live:
            return
        with self._changed:
            self._heard_seconds = max(self._heard_seconds, pts_seconds)
            self._changed.notify_all()
            while self._heard_seconds > self._reached_seconds + _AHEAD_SECONDS and not self._over.is_set():
                self._changed.wait(_LOOK_SECONDS)

    def _is_ready(self, seconds: float) -> bool:
        return self._zero_seconds is not None if self._is_live else self._heard_seconds >= seconds + _BEHIND_SECONDS

    def _run(self) -> None:
        try:
            for timed in self._large.pictures(self._over):
                given_at = self._clock() if timed.captured_at_seconds is None else timed.captured_at_seconds
                with self._changed:
                    self._zero_seconds = given_at - timed.pts_seconds
                    self._changed.notify_all()
        except Exception as error:
            self._failure = error
        finally:
            with self._changed:
                self._has_ended = True
                self._changed.notify_all()
