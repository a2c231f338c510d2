"""Stream address: the address of an output → libav's muxer for it, its options, and the form that may be shown."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from urllib.parse import quote

from pipeline.errors import SinkError
from pipeline.masking import MASK, masked_address

_ADDRESS = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+)://(.*)", re.DOTALL)
_PACKET_BYTES = "1316"  # seven packets of MPEG-TS, what fits into a datagram on Ethernet

# A key frame that left at once would overflow a receiver's buffer, by default of 200 KB.
_MOST_BITS_PER_SECOND = "50000000"


@dataclass(frozen=True, slots=True)
class _Scheme:
    """muxer: libav's. names_stream: whether the path names a stream, so that a server takes several."""

    muxer: str
    names_stream: bool
    options: Mapping[str, str] = field(default_factory=dict)
    query: Mapping[str, str] = field(default_factory=dict)  # added unless the address has that key


_RTSP = _Scheme("rtsp", names_stream=True, options={"rtsp_transport": "tcp"})
_RTMP = _Scheme("flv", names_stream=True, options={"flvflags": "no_duration_filesize"})
SCHEMES: Mapping[str, _Scheme] = {
    "rtsp": _RTSP,
    "rtsps": _RTSP,
    "rtmp": _RTMP,
    "rtmps": _RTMP,
    "udp": _Scheme("mpegts", names_stream=False, query={"pkt_size": _PACKET_BYTES, "bitrate": _MOST_BITS_PER_SECOND}),
    "srt": _Scheme("mpegts", names_stream=False),
}
"""What can be sent to."""


def is_address(word: str | None) -> bool:
    """Whether an output is an address, of whatever scheme, and not a file."""
    return word is not None and _ADDRESS.fullmatch(word) is not None and not word.lower().startswith("file:")


@dataclass(frozen=True, slots=True)
class StreamAddress:
    """Where to send, as libav takes it.

    >>> StreamAddress.parse("rtmp://a.example/live/key").shown
    'rtmp://a.example/live/***'
    """

    scheme: str
    rest: str  # behind ://, with its secrets

    @classmethod
    def parse(cls, word: str) -> StreamAddress:
        """Raises SinkError for a scheme that cannot be sent to, and without a host or a port that it needs."""
        match = _ADDRESS.fullmatch(word)
        scheme = "" if match is None else match[1].lower()
        if match is None or scheme not in SCHEMES:
            schemes = ", ".join(f"{name}://" for name in SCHEMES)
            raise SinkError(f"--output must be a file or an address of {schemes}, got {scheme}://{MASK}")
        address = cls(scheme, match[2])
        host = match[2].rpartition("@")[2] if "@" in match[2] else match[2]
        if not re.match(r"[^/?#:\s]|\[", host):
            raise SinkError(f"--output must have a host behind {scheme}://, got {address.shown}")
        if not address._kind.names_stream and not re.match(r"(\[[^\]]*\]|[^/?#:]*):\d+", host):
            raise SinkError(f"--output must have a port, such as {scheme}://host:5000, got {address.shown}")
        return address

    @property
    def full(self) -> str:
        """As it is opened; not to be shown."""
        has_key = [pair.partition("=")[0] for pair in self.rest.partition("?")[2].split("&")]
        added = "&".join(f"{key}={value}" for key, value in self._kind.query.items() if key not in has_key)
        joint = "&" if "?" in self.rest else "?"
        return f"{self.scheme}://{self.rest}{joint if added else ''}{added}"

    @property
    def shown(self) -> str:
        """Without secrets; of RTMP without the last part of the path, which is the key to a channel."""
        if self._kind is not _RTMP:
            return masked_address(f"{self.scheme}://{self.rest}")
        path = self.rest.partition("?")[0]
        head, slash, _ = path.rpartition("/")
        return (
            masked_address(f"{self.scheme}://{head}") + f"/{MASK}"
            if slash
            else masked_address(f"{self.scheme}://{path}")
        )

    @property
    def muxer(self) -> str:
        """libav's name of it."""
        return self._kind.muxer

    @property
    def options(self) -> dict[str, str]:
        """Of the muxer."""
        return {"flush_packets": "1", **self._kind.options}

    def of_source(self, stem: str) -> StreamAddress:
        """The address of one of several sources: the name of the stream with that of the source behind it.

        Raises SinkError for an address that takes one stream only.
        """
        if not self._kind.names_stream:
            raise SinkError(
                f"{self.shown} takes one stream; put all sources into one picture with --mosaic, "
                "or run each with an address of its own"
            )
        path, mark, query = self.rest.partition("?")
        return replace(self, rest=f"{path.rstrip('/')}-{quote(stem, safe='')}{mark}{query}")

    @property
    def _kind(self) -> _Scheme:
        return SCHEMES[self.scheme]
