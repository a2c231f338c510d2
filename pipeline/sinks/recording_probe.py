"""Recording probe: a video file, whole or cut off → its torn end removed, how many frames it holds, how long it is."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import av
from av.error import FFmpegError


def probe_recording(path: Path) -> tuple[int, float]:
    """Frames that can be read and seconds from the first to the last; (0, 0.0) for a file that does not play."""
    times: list[float] = []
    with suppress(FFmpegError, OSError, IndexError), av.open(str(path)) as container:  # IndexError: no video in it
        for packet in container.demux(container.streams.video[0]):
            is_whole = packet.size > 0 and not packet.is_corrupt  # the last one of a full disk is torn
            if is_whole and packet.pts is not None and packet.time_base is not None:
                times.append(float(packet.pts * packet.time_base))
    return len(times), max(times, default=0.0) - min(times, default=0.0)


def cut_torn_end(path: Path) -> None:
    """Cut an MP4 or MOV file off before a box that is not there to its end, unless it holds frames.

    libav reads nothing of a file that ends within a `moof`, the head of a fragment. Raises OSError.
    """
    if path.suffix.lower() not in (".mp4", ".m4v", ".mov"):
        return
    num_bytes = path.stat().st_size
    with path.open("r+b") as file:
        begin = 0
        while begin < num_bytes:
            file.seek(begin)
            head = file.read(16).ljust(16, b"\0")
            size = int.from_bytes(head[:4], "big")
            size = int.from_bytes(head[8:], "big") if size == 1 else size or num_bytes  # 0: to the end of the file
            if begin + max(size, 8) > num_bytes:
                if head[4:8] != b"mdat":
                    file.truncate(begin)
                return
            begin += max(size, 8)


def decoded_frames(path: Path) -> int:
    """How many frames of a file can be decoded."""
    num = 0
    with suppress(FFmpegError, OSError, IndexError), av.open(str(path)) as container:
        for _ in container.decode(video=0):
            num += 1
    return num
