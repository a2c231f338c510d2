"""Trust: requests → those that may come in: from this machine, or with the token; never from another site's page."""

from __future__ import annotations

import hashlib
import html
import ipaddress
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders, QueryParams
from starlette.requests import cookie_parser
from starlette.responses import HTMLResponse, PlainTextResponse, RedirectResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

TOKEN_KEY = "open"
"""Of the token in the address that is printed. Any telling word would be masked on its way to the terminal."""

_ASKING = f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark"><title>streamdet: token needed</title></head>
<body><main><h1>streamdet</h1><p>REASON</p>
<form action="/" method="get"><label>Token <input type="password" name="{TOKEN_KEY}" required autofocus></label>
<button>Open</button></form></main></body></html>
"""
_ASKING_HEADERS = {"Content-Security-Policy": "default-src 'none'; form-action 'self'; frame-ancestors 'none'"}

MOST_BODY_BYTES = 64 << 10
_MOST_CHANGES = 30  # in a burst, of requests that change something
_CHANGES_PER_SECOND = 10.0
_MOST_FAILURES = 20  # wrong tokens in a burst, of all clients
_FAILURES_PER_SECOND = 1.0
_READS = frozenset(("GET", "HEAD"))
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; "
    "media-src 'self' blob:; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cache-Control": "no-store",
}


@dataclass(frozen=True, slots=True)
class Policy:
    """Who may come in. token: None: everybody on this machine. names: hosts that this server answers to, beside IPs."""

    token: str | None = None
    names: frozenset[str] = frozenset(("localhost",))
    port: int = 0

    @property
    def cookie(self) -> str:
        """The cookie's name. Cookies are those of a host, whatever its ports."""
        return f"streamdet-{self.port}"

    def is_token(self, text: str | None) -> bool:
        """Compared in constant time."""
        own = self.token or ""
        return bool(own) and secrets.compare_digest((text or "").encode(), own.encode())

    @property
    def cookie_value(self) -> str:
        """What the cookie holds: not the token itself, so that a stolen cookie opens no other door."""
        return hashlib.sha256(f"streamdet cookie {self.token}".encode()).hexdigest()

    def is_cookie(self, text: str | None) -> bool:
        """Compared in constant time."""
        return self.token is not None and secrets.compare_digest((text or "").encode(), self.cookie_value.encode())

    def is_own_host(self, host: str) -> bool:
        """Whether a Host header names this server. A name that an attacker's DNS points here (rebinding) does not."""
        try:
            name = urlsplit(f"//{host}").hostname or ""
        except ValueError:
            return False
        try:
            address = ipaddress.ip_address(name)
        except ValueError:
            return name.lower() in self.names
        return self.token is not None or address.is_loopback


class Bucket:
    """Lets a burst through, and then a few a second."""

    def __init__(self, most: float, per_second: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._most, self._per_second, self._clock = most, per_second, clock
        self._level, self._at_seconds = most, clock()

    @property
    def is_empty(self) -> bool:
        """Whether nothing more may come now."""
        now = self._clock()
        self._level = min(self._most, self._level + (now - self._at_seconds) * self._per_second)
        self._at_seconds = now
        return self._level < 1

    def take(self) -> bool:
        """Whether one more may come."""
        if self.is_empty:
            return False
        self._level -= 1
        return True


class Guard:
    """Answers what may not come in, and adds headers to every answer. An ASGI app around another one."""

    def __init__(self, app: ASGIApp, policy: Policy, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._app, self._policy = app, policy
        self._changes = Bucket(_MOST_CHANGES, _CHANGES_PER_SECOND, clock)
        self._failures = Bucket(_MOST_FAILURES, _FAILURES_PER_SECOND, clock)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        refusal = self._refusal(scope)
        if refusal is None:
            is_http = scope["type"] == "http"
            await self._app(scope, _limited(receive) if is_http else receive, _with_headers(send))
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008, "reason": refusal[1][:100]})
        else:
            await self._refuse(refusal, scope, receive, send)

    async def _refuse(self, refusal: tuple[int, str], scope: Scope, receive: Receive, send: Send) -> None:
        status, reason = refusal
        if status == 303:
            response = RedirectResponse("/", 303)
            policy = self._policy
            response.set_cookie(
                policy.cookie, policy.cookie_value, max_age=7 * 86_400, httponly=True, samesite="strict", path="/"
            )
            await response(scope, receive, _with_headers(send))
        elif status == 401 and "text/html" in Headers(scope=scope).get("accept", ""):
            page = HTMLResponse(_ASKING.replace("REASON", html.escape(reason)), status, headers=_ASKING_HEADERS)
            await page(scope, receive, _with_headers(send))
        else:
            await PlainTextResponse(f"{reason}\n", status)(scope, receive, _with_headers(send))

    def _refusal(self, scope: Scope) -> tuple[int, str] | None:
        """The status and the reason; None: it may come in. 303: with its token, a browser gets its cookie."""
        headers, policy = Headers(scope=scope), self._policy
        host = headers.get("host", "")
        if not policy.is_own_host(host):
            return 421, "this server does not answer to that name; open it by its IP address"
        if _is_of_another_site(headers, host):
            return 403, "another site's page may not use this server"
        if policy.token is not None:
            refusal = self._without_token(scope, headers)
            if refusal is not None:
                return refusal
        if scope["type"] == "http" and scope["method"] not in _READS and not self._changes.take():
            return 429, "too many changes at once; try again in a second"
        return None

    def _without_token(self, scope: Scope, headers: Headers) -> tuple[int, str] | None:
        policy = self._policy
        cookie = cookie_parser(headers.get("cookie", "")).get(policy.cookie)
        if policy.is_cookie(cookie):
            return None
        scheme, _, bearer = headers.get("authorization", "").partition(" ")
        query = QueryParams(scope["query_string"]).get(TOKEN_KEY)
        if self._failures.is_empty:
            return 429, "too many wrong tokens; try again in a few seconds"
        if scheme.lower() == "bearer" and policy.is_token(bearer):
            return None
        if policy.is_token(query):
            return (303, "") if scope["type"] == "http" and scope["path"] == "/" else None
        if query or bearer:
            self._failures.take()
            return 401, "that is not the token of this run: open the address that streamdet printed when it started"
        return 401, "a token is needed: open the address that streamdet printed when it started"


def _is_of_another_site(headers: Headers, host: str) -> bool:
    """Whether a page of another origin sent it, by what browsers say and scripts cannot forge."""
    origin = headers.get("origin")
    if origin is not None:
        return urlsplit(origin).netloc != host
    site = headers.get("sec-fetch-site", "none")
    is_visit = headers.get("sec-fetch-mode") == "navigate" and headers.get("sec-fetch-dest") == "document"
    return site not in ("same-origin", "none") and not is_visit


def _limited(receive: Receive) -> Receive:
    """The body, as long as it is not too long; then the client is taken to have gone."""
    num_bytes = 0

    async def limited() -> Message:
        nonlocal num_bytes
        message = await receive()
        num_bytes += len(message.get("body", b""))
        return message if num_bytes <= MOST_BODY_BYTES else {"type": "http.disconnect"}

    return limited


def _with_headers(send: Send) -> Send:
    async def with_headers(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            for name, value in HEADERS.items():
                headers.setdefault(name, value)
        await send(message)

    return with_headers
