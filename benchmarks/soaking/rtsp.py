"""RTSP camera: pictures → H.264 over RTP (RFC 6184) in the RTSP connection, with RTCP sender reports."""

from __future__ import annotations

import base64
import re
import struct
import time
from collections.abc import Iterator

from benchmarks.soaking.camera import Camera, CameraPicture, Viewer
from benchmarks.soaking.clip import clip

_PAYLOAD_TYPE, _CLOCK_RATE, _SSRC = 96, 90_000, 0x50AC
_MOST_PAYLOAD_BYTES = 1400
_REPORT_SECONDS = 5.0
_NTP_OF_UNIX = 2_208_988_800
_PARAMETER_SETS = (7, 8)  # types of NAL units: SPS, PPS


class RtspCamera(Camera):
    """One stream, to any number of viewers over TCP."""

    scheme, path = "rtsp", "/stream"

    def serve(self, viewer: Viewer) -> None:
        packer = RtpPacker()
        viewer.packed = packer.pack
        unread = b""
        while data := viewer.receive():
            unread += data
            while unread:
                if unread[:1] == b"$":  # RTCP of the viewer
                    num_bytes = 4 + int.from_bytes(unread[2:4], "big")
                    if len(unread) < num_bytes:
                        break
                    unread = unread[num_bytes:]
                    continue
                request, end, rest = unread.partition(b"\r\n\r\n")
                if not end:
                    break
                unread = rest
                self._answer(viewer, request.decode("latin-1"))

    def _answer(self, viewer: Viewer, request: str) -> None:
        method = request.split(" ", 1)[0]
        number = re.search(r"CSeq:\s*(\d+)", request, re.IGNORECASE)
        lines, body = [f"CSeq: {number[1] if number else 0}"], b""
        if method == "DESCRIBE":
            body = _description()
            lines += [f"Content-Base: {self.address}/", "Content-Type: application/sdp", f"Content-Length: {len(body)}"]
        elif method == "SETUP":
            lines += ["Transport: RTP/AVP/TCP;unicast;interleaved=0-1", "Session: 1;timeout=60"]
        elif method == "OPTIONS":
            lines.append("Public: OPTIONS, DESCRIBE, SETUP, PLAY, TEARDOWN, GET_PARAMETER")
        else:
            lines.append("Session: 1")
        viewer.write("\r\n".join(["RTSP/1.0 200 OK", *lines, "", ""]).encode() + body)
        if method == "PLAY":
            self.add(viewer)
        elif method == "TEARDOWN":
            viewer.close()


class RtpPacker:
    """Pictures → RTP packets, each behind the four bytes that interleave it with RTSP."""

    def __init__(self) -> None:
        self._sequence = self._num_packets = self._num_bytes = 0
        self._report_at_seconds = 0.0

    def pack(self, picture: CameraPicture) -> bytes:
        """All packets of a picture, the last of them marked, and now and then a sender report before."""
        timestamp = round(picture.seconds * _CLOCK_RATE) & 0xFFFFFFFF
        payloads = [payload for unit in nal_units(picture.h264) for payload in _payloads(unit)]
        packets = [
            self._packet(payload, timestamp, is_last=index + 1 == len(payloads))
            for index, payload in enumerate(payloads)
        ]
        return self._report(timestamp) + b"".join(packets)

    def _packet(self, payload: bytes, timestamp: int, *, is_last: bool) -> bytes:
        header = struct.pack("!BBHII", 0x80, _PAYLOAD_TYPE | is_last << 7, self._sequence, timestamp, _SSRC)
        self._sequence = (self._sequence + 1) & 0xFFFF
        self._num_packets += 1
        self._num_bytes += len(payload)
        return _interleaved(0, header + payload)

    def _report(self, timestamp: int) -> bytes:
        """The wall clock of a media time, which tells the age of a picture."""
        if time.monotonic() < self._report_at_seconds:
            return b""
        self._report_at_seconds = time.monotonic() + _REPORT_SECONDS
        ntp = round((time.time() + _NTP_OF_UNIX) * 2**32)
        counts = self._num_packets & 0xFFFFFFFF, self._num_bytes & 0xFFFFFFFF
        return _interleaved(1, struct.pack("!BBHIQIII", 0x80, 200, 6, _SSRC, ntp, timestamp, *counts))


def nal_units(annex_b: bytes) -> list[bytes]:
    """The NAL units of an access unit, without their start codes."""
    return [unit.rstrip(b"\0") for unit in annex_b.split(b"\0\0\1")[1:]]


def _payloads(unit: bytes) -> Iterator[bytes]:
    """A NAL unit in one packet, or in fragments (FU-A)."""
    if len(unit) <= _MOST_PAYLOAD_BYTES:
        yield unit
        return
    indicator, kind = unit[0] & 0xE0 | 28, unit[0] & 0x1F
    starts = range(1, len(unit), _MOST_PAYLOAD_BYTES)
    for start in starts:
        is_first, is_last = start == starts[0], start == starts[-1]
        yield bytes([indicator, is_first << 7 | is_last << 6 | kind]) + unit[start : start + _MOST_PAYLOAD_BYTES]


def _interleaved(channel: int, packet: bytes) -> bytes:
    return struct.pack("!cBH", b"$", channel, len(packet)) + packet


def _description() -> bytes:
    sets = [unit for unit in nal_units(clip().h264[0]) if unit[0] & 0x1F in _PARAMETER_SETS]
    words = ",".join(base64.b64encode(unit).decode() for unit in sets)
    lines = [
        *(
            "v=0",
            "o=- 1 1 IN IP4 127.0.0.1",
            "s=soak",
            "c=IN IP4 0.0.0.0",
            "t=0 0",
            f"m=video 0 RTP/AVP {_PAYLOAD_TYPE}",
        ),
        *(f"a=rtpmap:{_PAYLOAD_TYPE} H264/{_CLOCK_RATE}", "a=control:track1"),
        f"a=fmtp:{_PAYLOAD_TYPE} packetization-mode=1;sprop-parameter-sets={words}",
    ]
    return "\r\n".join([*lines, ""]).encode()
