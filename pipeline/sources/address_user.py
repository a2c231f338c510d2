"""User and password of an address: characters that should be escaped → escaped, so that libav reads it as meant."""

from __future__ import annotations

import re
from urllib.parse import quote

_ADDRESS = re.compile(r"((?:rtsps?|https?)://)(.*)", re.IGNORECASE | re.DOTALL)  # libav decodes the user of these alone
_HOST = re.compile(
    r"(?:\[[0-9A-Fa-f:.%]+\]|\d{1,3}(?:\.\d{1,3}){3}|localhost)(?::\d+)?(?=[/?#]|$)"
    r"|[\w.-]+:\d+(?=[/?#]|$)"
    r"|[\w-]+(?:\.[\w-]+)*\.[A-Za-z]+/"
)
_WORD = re.compile(r"[\w.-]+(?:[/?#]|$)")
_NO_PORT = re.compile(r"[^@:\[\]]*:(?!\d*$)")
_LONE_PERCENT = re.compile(r"%(?![0-9A-Fa-f]{2})")


def with_escaped_user(address: str) -> str:
    """The same address with what stands before its host percent-encoded; escapes that are there already stay.

    What ends user and password is, as RFC 3986 has it, the last `@` before the first `/`, `?` or `#`. Only where that
    leaves no host, `user:p/w@camera`, or one that is a mere word, `user:p@ss/w@10.0.0.1`, is it the last later `@` that
    an IP address, localhost, a host with its port or a domain follows, before a `?` if there is one; so an `@` in the
    path or the query of an address stays what it is.
    """
    match = _ADDRESS.fullmatch(address)
    if match is None:
        return address
    scheme, rest = match[1], match[2]
    end = _end_of_user(rest)
    if end is None:
        return address
    user, colon, password = rest[:end].partition(":")
    return f"{scheme}{_escaped(user)}{colon}{_escaped(password)}{rest[end:]}"


def _end_of_user(rest: str) -> int | None:
    """Where the `@` stands before the host; None without one."""
    authority: str = re.split("[/?#]", rest, maxsplit=1)[0]
    usual = authority.rfind("@")
    has_no_host = usual < 0 and _NO_PORT.match(authority) is not None
    if (usual < 0 and not has_no_host) or (usual >= 0 and _HOST.match(rest, usual + 1)):
        return None if usual < 0 else usual
    query = rest.find("?", usual + 1)
    later = [index for index, letter in enumerate(rest) if letter == "@" and index > usual]
    before_query = [index for index in later if query < 0 or index < query]
    for indices, host in ((before_query, _HOST), *(((before_query, _WORD), (later, _WORD)) if has_no_host else ())):
        before_hosts: list[int] = [index for index in indices if host.match(rest, index + 1)]
        if before_hosts:
            return before_hosts[-1]
    return None if usual < 0 else usual


def _escaped(text: str) -> str:
    return quote(_LONE_PERCENT.sub("%25", text), safe="%:!$&'()*+,;=")
