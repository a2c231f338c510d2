"""Download: an http address → the bytes of the image file there."""

from __future__ import annotations

import time
from collections.abc import Callable
from http.client import HTTPException
from urllib.request import urlopen

from pipeline.web_file import CHUNK_BYTES, request_of

MOST_BYTES = 1 << 28


def download(address: str, *, timeout_seconds: float, clock: Callable[[], float] = time.monotonic) -> bytes | None:
    """The complete file, or None where it breaks off, is larger than `MOST_BYTES`, or has no end.

    Many cameras push their pictures as parts, without an end, at an address that ends in .jpg.
    user:password@ in the address becomes a header of basic authorization.
    Raises TimeoutError where the server has said nothing for so long.
    """
    until_seconds, content = clock() + timeout_seconds, bytearray()
    try:
        with urlopen(request_of(address), timeout=timeout_seconds) as response:
            if response.headers.get_content_maintype() == "multipart":
                return None
            has_length = response.headers.get("Content-Length") is not None
            while chunk := response.read1(CHUNK_BYTES):
                content += chunk
                if len(content) > MOST_BYTES or (not has_length and clock() > until_seconds):
                    return None
            if response.length:  # it broke off
                return None
    except (OSError, HTTPException, ValueError) as error:
        if _is_timeout(error) and not content:
            raise TimeoutError from error
        return None
    return bytes(content)


def sends_something(address: str, *, timeout_seconds: float) -> bool:
    """Whether a server answers with at least a byte of a file, in a while."""
    try:
        with urlopen(request_of(address), timeout=timeout_seconds) as response:
            return bool(response.read1(1))
    except (OSError, HTTPException, ValueError):
        return False


def _is_timeout(error: Exception) -> bool:
    return isinstance(error, TimeoutError) or isinstance(getattr(error, "reason", None), TimeoutError)
