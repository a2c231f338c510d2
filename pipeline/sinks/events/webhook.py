"""Webhook: an event → a POST of its JSON to an address, until a server has answered that it has it."""

from __future__ import annotations

import base64
from http.client import HTTPException, HTTPMessage
from typing import IO
from urllib.error import HTTPError, URLError
from urllib.parse import SplitResult, unquote, urlsplit, urlunsplit
from urllib.request import HTTPRedirectHandler, OpenerDirector, Request, build_opener

from pipeline.errors import SinkError
from pipeline.masking import MASK
from pipeline.sinks.events.delivery import Refused, Undelivered
from pipeline.sinks.events.outbox import Message
from pipeline.version import __version__

_REFUSALS = frozenset((400, 413, 415, 422))  # of the event itself; any other answer may change, as of a server's setup


class Webhook:
    """Posts messages with `Idempotency-Key: id`, for an address with a user and a password as basic authentication.

    A redirect is not followed, because that would make a GET of it. Raises SinkError for an address of another kind.
    timeout_seconds: for each answer.
    """

    def __init__(self, address: str, *, timeout_seconds: float = 10.0) -> None:
        parts = _split(address)
        self.name = f"webhook {shown_host(parts)}"
        self._timeout_seconds = timeout_seconds
        netloc = parts.netloc.rpartition("@")[2]
        self._address = urlunsplit(parts._replace(netloc=netloc, fragment="", path=parts.path or "/"))
        self._headers = {"Content-Type": "application/json", "User-Agent": f"streamdet/{__version__}"}
        if parts.username is not None:
            user = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
            self._headers["Authorization"] = f"Basic {base64.b64encode(user.encode()).decode()}"
        self._opener: OpenerDirector = build_opener(_NoRedirects())

    def deliver(self, message: Message) -> None:
        """Post a message. Raises Refused where the server says that it is wrong, Undelivered for any other answer."""
        headers = self._headers | {"Idempotency-Key": message.id}
        request = Request(self._address, message.body.encode(), headers, method="POST")
        try:
            with self._opener.open(request, timeout=self._timeout_seconds) as answer:
                answer.read(65_536)
        except HTTPError as error:
            error.close()
            kind = Refused if error.code in _REFUSALS else Undelivered
            raise kind(f"the server answered {error.code} {error.reason}") from error
        except (URLError, HTTPException, OSError) as error:
            raise Undelivered(_in_words(error)) from error

    def close(self) -> None:
        """Nothing is held between two messages."""


class _NoRedirects(HTTPRedirectHandler):
    def redirect_request(
        self, req: Request, fp: IO[bytes], code: int, msg: str, headers: HTTPMessage, newurl: str
    ) -> None:
        return None


def shown_host(parts: SplitResult) -> str:
    """Scheme and host alone: services have their keys in the path."""
    host = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else parts.hostname
    port = "" if parts.port is None else f":{parts.port}"
    return f"{parts.scheme}://{host}{port}/{MASK}"


def _split(address: str) -> SplitResult:
    try:
        parts = urlsplit(address.strip())
        is_usable = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        is_usable = False
    if not is_usable or any(letter.isspace() or not letter.isprintable() for letter in address.strip()):
        raise SinkError("--webhook must be http://HOST/PATH or https://HOST/PATH; got another address, not shown here")
    return parts


def _in_words(error: Exception) -> str:
    reason = getattr(error, "reason", error)
    if isinstance(reason, TimeoutError):
        return "no answer in time"
    return str(getattr(reason, "strerror", None) or reason) or type(error).__name__
