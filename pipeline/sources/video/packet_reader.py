"""Packet reader: an open video → its packets that are to be decoded, up to the end or to an error that ends it."""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterator
from typing import cast

import av.error
from av.packet import Packet
from av.video.stream import VideoStream

from pipeline.errors import LostFramingError, SourceError
from pipeline.flow.stage import Stop
from pipeline.sources.packets import PacketListener
from pipeline.sources.video.damage import Damage
from pipeline.sources.video.lost_framing import LOST_FRAMING, WatchedConnection
from pipeline.sources.video.opening import OpenVideo
from pipeline.sources.video.seen_packets import SeenPackets
from pipeline.sources.video.stream_times import StreamTimes

MAX_BROKEN_READS = 100  # in a row: a container that gives nothing but errors has ended


class PacketReader:
    """Reads an open video, in one thread. Packets are noted as damage, as seen, and by its clocks, and heard by others.

    read_timeout_seconds: for which a network may be silent. is_undecided: whether it may be a file as well as live.
    seen: what was read of a live playlist before it was opened again, which is left out. clock: monotonic seconds.
    """

    def __init__(
        self,
        video: OpenVideo,
        times: StreamTimes,
        *,
        source_id: str,
        read_timeout_seconds: float,
        is_undecided: bool,
        seen: SeenPackets | None,
        damage: Damage,
        clock: Callable[[], float],
    ) -> None:
        self._video, self._source_id, self._read_timeout_seconds = video, source_id, read_timeout_seconds
        self._is_undecided, self._seen, self._damage, self._clock = is_undecided, seen, damage, clock
        self._early: list[Packet[VideoStream]] | None = []  # None: they are told as they come
        self._has_gap = False
        self.times = times
        """Set anew where it turned out to be a file."""
        self.stop: Stop | None = None
        """Ends the packets; None: it has not begun."""
        self.listener: PacketListener | None = None
        """Hears every packet from `take_early` on."""
        self.is_repeating = bool(seen)
        """Whether no packet was new yet."""
        self.first_packet: tuple[int | None, bytes] | None = None
        """Timestamp and bytes of the first packet, where it may be a file."""

    def packets(self) -> Iterator[Packet[VideoStream] | None]:
        """Every packet that can be read, then None, which makes the decoder give back the frames that it holds.

        Raises SourceError for a network that is lost or silent.
        """
        num_errors_in_a_row = 0
        while num_errors_in_a_row < MAX_BROKEN_READS:
            try:
                for packet, waited_seconds in self._reads():
                    if self.stop and self.stop.is_set():
                        return
                    if packet.size:  # an empty one would end the decoder
                        num_errors_in_a_row = 0
                        if self._is_needed(packet, waited_seconds):
                            yield packet
                    self._refuse_silence(waited_seconds)
                break
            except av.error.FFmpegError as error:
                if self._is_undecided and error.errno == errno.EIO:
                    break  # so ends a file of no declared length
                num_errors_in_a_row += self._recover(error)
        yield None

    def take_early(self) -> list[Packet[VideoStream]]:
        """The packets that were read already; once, and the listener hears those after them."""
        early, self._early = self._early or [], None
        return early

    def tell(self, packet: Packet[VideoStream]) -> None:
        """Let the listener hear a packet."""
        if self._early is not None:
            self._early.append(packet)
        elif self.listener is not None:
            stamp = packet.pts
            self.listener.take(packet, None if stamp is None else float(stamp * self.times.header.time_base))

    def take_gap(self) -> bool:
        """Whether packets were left out since the last call, so that the next one refers to nothing before it."""
        has_gap, self._has_gap = self._has_gap, False
        return has_gap

    def _is_needed(self, packet: Packet[VideoStream], waited_seconds: float) -> bool:
        """Whether a packet is to be decoded: it is new, and not too old. Takes note of it, and tells the listener."""
        is_new = self._is_new(packet)
        self._take_note_of(packet)
        if is_new:
            self.tell(packet)
        is_worth = self.is_repeating or self.times.is_worth_decoding(packet, waited_seconds=waited_seconds)
        self._has_gap |= not is_worth
        return is_worth and is_new

    def _reads(self) -> Iterator[tuple[Packet[VideoStream], float]]:
        """Every packet, and the seconds for which it was waited. Raises LostFramingError where the framing is lost."""
        connection = self._video.connection
        packets = self._video.container.demux(self._video.stream) if connection is None else self._framed(connection)
        while True:
            asked_at_seconds = self._clock()
            packet = next(packets, None)
            if packet is None:
                return
            yield packet, self._clock() - asked_at_seconds

    def _framed(self, connection: WatchedConnection) -> Iterator[Packet[VideoStream]]:
        """The packets of the video; those of other streams show as well that the framing is right."""
        framing, video = connection.framing, self._video.stream
        packets = self._video.container.demux()
        while True:
            framing.ask()
            try:
                packet = next(packets, None)
            except av.error.FFmpegError:
                packet = None
                if not framing.has_lost:
                    raise
            if framing.has_lost:
                raise LostFramingError(f"{self._source_id}: {LOST_FRAMING}")
            if packet is None:
                return
            framing.take(packet.size)
            if packet.stream_index == video.index:
                yield cast("Packet[VideoStream]", packet)

    def _refuse_silence(self, waited_seconds: float) -> None:
        """Raise SourceError where libav answered a timeout with the picture that it had held back."""
        if self._video.scheme and self.times.header.is_live and waited_seconds >= self._read_timeout_seconds:
            raise SourceError(f"{self._source_id}: {self._silence}")

    def _is_new(self, packet: Packet[VideoStream]) -> bool:
        """Whether a packet of a live playlist was not read before it was opened again; from a key frame on."""
        if self._seen is None or not self.times.header.is_playlist:
            return True
        is_new = self._seen.add(packet.pts, bytes(packet))
        self.is_repeating = self.is_repeating and not (is_new and packet.is_keyframe)
        return not self.is_repeating

    def _take_note_of(self, packet: Packet[VideoStream]) -> None:
        """Count a packet, and make its timestamps go on where the clock of the stream jumps."""
        self._damage.num_packets += 1
        self._damage.num_hidden += packet.is_discard
        if self.first_packet is None and self._is_undecided:
            self.first_packet = packet.pts, bytes(packet)
        if self.times.media_clock:
            self.times.media_clock.carry_on(packet)

    def _recover(self, error: av.error.FFmpegError) -> bool:
        """Prepare to read on after an error, and count it if it is damage. Raises SourceError for a lost network."""
        self._damage.reason = self._video.reason(error)
        is_invalid_data = isinstance(error, av.error.InvalidDataError)
        if self._video.container.format.name == "mpjpeg" and is_invalid_data:
            self._video.open_again_as_jpegs()
            return False
        if self._video.scheme and not is_invalid_data:
            raise SourceError(f"{self._source_id}: {self._breakdown(error)}") from error
        self._damage.num_broken_reads += 1
        return True

    def _breakdown(self, error: av.error.FFmpegError) -> str:
        if isinstance(error, av.error.ExitError):
            return self._silence
        return f"broke off: {self._damage.reason}"

    @property
    def _silence(self) -> str:
        return f"fell silent for {self._read_timeout_seconds:g} s (network.read_timeout_s sets the wait)"
