"""Download: an http address → the bytes of the image file there."""

from __future__ import annotations

import base64
import time
from collections.abc import Callable
from http.client import HTTPException
from urllib.parse import unquote, urlsplit
from urllib.request import Request, urlopen

MOST_BYTES = 1 << 28
CHUNK_BYTES = 1 << 16


def download(address: str, *, timeout_seconds: float, clock: Callable[[], float] = time.monotonic) -> bytes | None:
    """The complete file, or None where it breaks off, is larger than `MOST_BYTES`, or has no end.

    Many cameras push their pictures as parts, without an end, at an address that ends in .jpg.
    user:password@ in the address becomes a header of basic authorization.
    """
    parts = urlsplit(address)
    user, is_named, host = parts.netloc.rpartition("@")
    request = Request(parts._replace(netloc=host, fragment="").geturl())
    if is_named:
        request.add_header("Authorization", f"Basic {base64.b64encode(unquote(user).encode()).decode()}")
    until_seconds, content = clock() + timeout_seconds, bytearray()
    try:
        with urlopen(request, timeout=timeout_seconds) as response:
            if response.headers.get_content_maintype() == "multipart":
                return None
            has_length = response.headers.get("Content-Length") is not None
            while chunk := response.read1(CHUNK_BYTES):
                content += chunk
                if len(content) > MOST_BYTES or (not has_length and clock() > until_seconds):
                    return None
            if response.length:  # it broke off
                return None
    except (OSError, HTTPException, ValueError):
        return None
    return bytes(content)
