"""Cameras over HTTP: pictures → JPEGs pushed one after another, or segments of MPEG-TS with a live playlist (HLS)."""

from __future__ import annotations

import random
from collections import deque

from benchmarks.soaking.camera import Camera, CameraPicture, Viewer
from benchmarks.soaking.transport_stream import TransportStream

_NUM_SEGMENTS = 4  # in the playlist
_KEPT_SEGMENTS = 8
_SEGMENT_SECONDS = 1.0


class MjpegCamera(Camera):
    """JPEGs in `multipart/x-mixed-replace`, as IP cameras push them."""

    scheme, path = "http", "/video.mjpg"

    def serve(self, viewer: Viewer) -> None:
        viewer.packed = _part
        viewer.receive()
        viewer.write(b"HTTP/1.1 200 OK\r\nContent-Type: multipart/x-mixed-replace; boundary=picture\r\n\r\n")
        self.add(viewer)
        while viewer.receive():
            pass


def _part(picture: CameraPicture) -> bytes:
    head = f"--picture\r\nContent-Type: image/jpeg\r\nContent-Length: {len(picture.jpeg)}\r\n\r\n"
    return head.encode() + picture.jpeg + b"\r\n"


class HlsCamera(Camera):
    """A playlist without an end, of segments of a second, each of which begins with a key frame.

    A spoilt picture spoils its segment; a cut ends the answers that are under way, and the next one in its middle.
    """

    scheme, path = "http", "/live.m3u8"

    def __init__(self, name: str, randomness: random.Random) -> None:
        self._segments: deque[tuple[int, bytes]] = deque(maxlen=_KEPT_SEGMENTS)
        self._number = 0
        self._stream: TransportStream | None = None
        self._growing = b""
        self._cuts_next = False
        super().__init__(name, randomness)

    def see(self, picture: CameraPicture) -> None:
        if picture.is_key and self._growing:
            self._segments.append((self._number, self._growing))
            self._number += 1
            self._growing, self._stream = b"", None  # each segment has its tables
        if not (picture.is_key or self._growing):
            return
        self._stream = self._stream or TransportStream()
        data, spoil = self._stream.pack(picture), self.spoil
        self._growing += data if spoil is None else spoil(data)

    def cut(self) -> None:
        super().cut()
        self._cuts_next = True

    def serve(self, viewer: Viewer) -> None:
        while request := viewer.receive():
            path = request.split(b" ")[1].decode("latin-1")
            body, kind = self._content(path)
            status = "404 Not Found" if body is None else "200 OK"
            body = body or b""
            head = f"HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n\r\n".encode()
            if self._cuts_next and body:
                self._cuts_next = False
                viewer.write(head + body[: len(body) // 2])
                return
            viewer.write(head + body)

    def _content(self, path: str) -> tuple[bytes | None, str]:
        if path == self.path:
            return self._playlist(), "application/vnd.apple.mpegurl"
        return {f"/{number}.ts": data for number, data in list(self._segments)}.get(path), "video/mp2t"

    def _playlist(self) -> bytes | None:
        segments = list(self._segments)[-_NUM_SEGMENTS:]
        if not segments:
            return None
        lines = ["#EXTM3U", "#EXT-X-VERSION:3", "#EXT-X-TARGETDURATION:1", f"#EXT-X-MEDIA-SEQUENCE:{segments[0][0]}"]
        for number, _ in segments:
            lines += [f"#EXTINF:{_SEGMENT_SECONDS:.3f},", f"{number}.ts"]
        return "\n".join([*lines, ""]).encode()
