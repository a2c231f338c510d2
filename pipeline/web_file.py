"""Web file: an http address → its content, written into an open file; broken transfers go on where they broke off."""

from __future__ import annotations

import base64
import socket
from collections.abc import Callable
from http.client import HTTPException, HTTPMessage, HTTPResponse
from typing import IO, Any, BinaryIO
from urllib.error import HTTPError, URLError
from urllib.parse import unquote, urlsplit
from urllib.request import HTTPRedirectHandler, Request, build_opener

from pipeline.errors import first_line, reason_of

CHUNK_BYTES = 1 << 16
MOST_BYTES = 1 << 32
_TIMEOUT_SECONDS = 30.0
_MOST_TRIES = 5

Watch = Callable[[int, int | None], None]
"""Bytes that are there, and bytes in all, None where the server does not say."""


class DownloadError(Exception):
    """A file that cannot be fetched, with the reason in words that name no address.

    is_absent: the server answers, and has no such file.
    """

    def __init__(self, reason: str, *, is_absent: bool = False) -> None:
        super().__init__(reason)
        self.is_absent = is_absent


class _CutError(Exception):
    """A transfer that ended before its end, and may be taken up again."""


def request_of(address: str) -> Request:
    """A request for an address without its fragment; user:password@ in it becomes a header of basic authorization."""
    parts = urlsplit(address)
    user, is_named, host = parts.netloc.rpartition("@")
    request = Request(parts._replace(netloc=host, fragment="").geturl())
    if is_named:
        request.add_header("Authorization", f"Basic {base64.b64encode(unquote(user).encode()).decode()}")
    return request


def fetch(
    address: str,
    into: BinaryIO,
    *,
    num_bytes: int | None = None,
    watch: Watch = lambda done, total: None,
    timeout_seconds: float = _TIMEOUT_SECONDS,
) -> None:
    """Write the complete content of an address into an open, empty file.

    num_bytes: the size that it must have, None if any. timeout_seconds: for so long a server may send nothing.
    A transfer that breaks off goes on with what is missing, or begins anew where the server cannot tell that the file
    is still the same. A redirect from https to http is not followed. Raises DownloadError.
    """
    tag: str | None = None
    for number in range(1, _MOST_TRIES + 1):
        before = into.tell()
        try:
            with _opened(address, before if tag else 0, tag, timeout_seconds) as response:
                tag = response.headers.get("ETag")
                _receive(response, into, num_bytes, watch)
            return
        except _CutError as error:
            if into.tell() <= before or number == _MOST_TRIES:
                raise DownloadError(str(error)) from error
    raise AssertionError("unreachable")


def _opened(address: str, start: int, tag: str | None, timeout_seconds: float) -> Any:
    request = request_of(address)
    request.add_header("User-Agent", "streamdet")
    request.add_header("Accept-Encoding", "identity")
    if start and tag:
        request.add_header("Range", f"bytes={start}-")
        request.add_header("If-Range", tag)
    try:
        return build_opener(_Redirects).open(request, timeout=timeout_seconds)
    except HTTPError as error:
        error.close()
        raise DownloadError(
            f"the server answers {error.code} {first_line(Exception(error.reason))}", is_absent=error.code in (404, 410)
        ) from error
    except (URLError, OSError, HTTPException, ValueError) as error:
        raise DownloadError(_in_words(error)) from error


def _receive(response: HTTPResponse, into: BinaryIO, num_bytes: int | None, watch: Watch) -> None:
    """Append the content of an answer to what is there of it; an answer that begins anew replaces that."""
    if response.status != 206 and into.tell():
        into.seek(0)
        into.truncate()
    total = None if response.length is None else into.tell() + response.length
    if num_bytes is not None and total not in (None, num_bytes):
        raise DownloadError(f"it must have {num_bytes:,} bytes, the server has a file of {total:,}")
    while True:
        try:
            chunk = response.read1(CHUNK_BYTES)
        except (OSError, HTTPException) as error:
            raise _CutError(f"{_in_words(error)}, after {_amount(into.tell(), total)}") from error
        if not chunk:
            break
        _write(into, chunk)
        if into.tell() > (num_bytes or MOST_BYTES):
            raise DownloadError(f"it must have {num_bytes or MOST_BYTES:,} bytes at most, the server sends more")
        watch(into.tell(), total)
    if response.length:
        raise _CutError(f"the transfer was cut off after {_amount(into.tell(), total)}")
    if num_bytes is not None and into.tell() != num_bytes:  # a server that does not say how much there is
        raise _CutError(f"the transfer was cut off after {_amount(into.tell(), num_bytes)}")


def _write(into: BinaryIO, chunk: bytes) -> None:
    try:
        into.write(chunk)
        into.flush()
    except OSError as error:
        raise DownloadError(f"it cannot be written: {reason_of(error)}") from error


def _amount(done: int, total: int | None) -> str:
    return f"{done:,} bytes" if total is None else f"{done:,} of {total:,} bytes"


def _in_words(error: Exception) -> str:
    reason = error.reason if isinstance(error, URLError) else error
    if isinstance(reason, TimeoutError):
        return "the server sends nothing"
    if isinstance(reason, socket.gaierror):
        return f"its host is not known here, or there is no network ({reason.strerror})"
    if isinstance(reason, OSError):
        return reason_of(reason)
    return first_line(reason) if isinstance(reason, BaseException) else str(reason)


class _Redirects(HTTPRedirectHandler):
    """Follows a redirect to the same or better protection, and takes a password to no other host."""

    def redirect_request(
        self, req: Request, fp: IO[bytes], code: int, msg: str, headers: HTTPMessage, newurl: str
    ) -> Request | None:
        old, new = urlsplit(req.full_url), urlsplit(newurl)
        if new.scheme != "https" and new.scheme != old.scheme:
            raise DownloadError(f"it is redirected from {old.scheme} to {new.scheme}, which is not followed")
        request = super().redirect_request(req, fp, code, msg, headers, newurl)
        if request is not None and new.netloc != old.netloc:
            request.remove_header("Authorization")
        return request
