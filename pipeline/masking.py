"""Secrets in addresses: maps an address, or any text with addresses in it, to the same without passwords and tokens.

Cameras want them in every part of an address, and people forget to escape them, so what may be a secret is masked:
everything before the last `@`, whatever is in it; the values of telling keys, in the query or in the path; the places
of the path in which cameras and portals have user and password; a part of the path that looks drawn by lot. Masked
text stays as it is when it is masked again.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from urllib.parse import unquote

MASK = "***"

_SCHEME = r"(?:[A-Za-z][A-Za-z0-9+.-]+:)+/+"  # of two letters or more: C:/ is a drive; rtsp:/ is a slip
_ADDRESS = re.compile(rf"({_SCHEME})(.*)", re.DOTALL)
_IN_TEXT = re.compile(rf"{_SCHEME}\S+|(?<![\w/])[\w.%+-]+:[^\s/@]\S*@(?=[\w\[])")
_CLOSING = "'\"`)]}>,.;:!…"  # what a sentence puts behind an address
_TELLING = (
    "pass|pwd|psw|usr|user|login|account|tok|key|auth|access|sig|hmac|md5|secret|sess|sid|cred|jwt|hash|ticket|bearer|"
    "nonce|hdn|policy|streamid|pin|otp"
)
_NEXT_KEY = r"&[^&=]*=|_(?:channel|stream|subtype|user|password|passwd|pwd)="  # XMeye has _ between the pairs
_SECRET_VALUE = re.compile(
    rf"((?<![a-z0-9])(?:[a-z0-9_.\[\]-]*(?:{_TELLING})[a-z0-9_.\[\]-]*?|u|p|k|pw|un)(?:=|%3d))"
    rf"(?:(?!{_NEXT_KEY}).)*",
    re.IGNORECASE | re.DOTALL,
)
_ESCAPED_USER = re.compile(r"(%3a%2f%2f).*(%40)", re.IGNORECASE | re.DOTALL)  # of an address in a query
_HOST = re.compile(r"(?:[^:@\s]*|\[[^\]]*\])(?::\d*)?")
_USUAL_USERS = frozenset(
    ("admin", "administrator", "camera", "default", "guest", "onvif", "operator", "root", "service", "user", "viewer")
)
_PORTAL_FOLDERS = frozenset(("live", "movie", "series", "timeshift"))  # /live/USER/PASSWORD/1.ts
_NUMBERED = re.compile(r"\d+(?:\.\w+)?")
_NUM_TURNS_OF_LOT = 3
_DRIVE = re.compile(r"[A-Za-z]:[/\\][^:]*")


def masked_address(word: str) -> str:
    """One address, which may hold blanks, or a path, which stays as it is unless a user and a password are in it."""
    match = _ADDRESS.fullmatch(word)
    if match is None:
        return _masked_without_scheme(word)
    scheme, rest = match[1], match[2]
    if scheme.lower().startswith("file:"):
        return word
    shown = _SECRET_VALUE.sub(rf"\g<1>{MASK}", _ESCAPED_USER.sub(rf"\g<1>{MASK}\g<2>", rest))
    if "@" in shown:
        user_and_password, _, host_and_path = shown.rpartition("@")
        return f"{scheme}{_masked_user(user_and_password)}@{_masked_path(host_and_path)}"
    if "@" in rest:
        return scheme + MASK  # it was a part of something masked, so that nobody knows what stands before it
    host, slash, path = _split_host(shown)
    if not _HOST.fullmatch(host):
        host = MASK  # a user and a password whose host was forgotten, or whose @ was escaped
    return scheme + _masked_path(host + slash + path)


def masked_text(text: str, *, words: Iterable[str] = ()) -> str:
    """Any text with the addresses in it masked.

    words: addresses that may occur in it, such as those that a user typed; one with a blank in it is found only so.
    """
    for word in words:
        shown = masked_address(word)
        if shown != word:
            text = text.replace(word, shown).replace(repr(word)[1:-1], shown)
    return _IN_TEXT.sub(_masked_match, text)


def without_pieces(text: str, address: str) -> str:
    """A text in which somebody else, who took a password for a host, may have told a piece of what an address hides."""
    match = _ADDRESS.fullmatch(address)
    if match is None or "@" not in match[2]:
        return text
    user, _, host = match[2].rpartition("@")
    for piece in sorted(set(re.split(r"[@:/?#]", user)), key=len, reverse=True):
        if len(piece) > 1 and piece not in host:
            text = re.sub(rf"(?<!\w){re.escape(piece)}(?!\w)", MASK, text)
    return text


def _masked_match(match: re.Match[str]) -> str:
    address = match[0].rstrip(_CLOSING)
    return masked_address(address) + match[0][len(address) :]


def _masked_without_scheme(word: str) -> str:
    if "?" in word or "&" in word:
        word = _SECRET_VALUE.sub(rf"\g<1>{MASK}", word)
    before, at, after = word.rpartition("@")
    return f"{MASK}@{after}" if at and ":" in before and not _DRIVE.fullmatch(before) else word


def _masked_user(user_and_password: str) -> str:
    """A name that every camera has betrays nothing; any other may be a key, as may a user without a password."""
    user, _, password = user_and_password.partition(":")
    return f"{user}:{MASK}" if password and user.lower() in _USUAL_USERS else MASK


def _split_host(rest: str) -> tuple[str, str, str]:
    match = re.match(r"([^/?#]*)([/?#]?)(.*)", rest, re.DOTALL)
    assert match is not None
    return match[1], match[2], match[3]


def _masked_path(rest: str) -> str:
    """Host, path and query, with what the path has for a user and a password masked."""
    path, mark, query = rest.partition("?")
    host, *parts = path.split("/")
    first = 1 if parts and parts[0] in _PORTAL_FOLDERS else 0
    is_of_portal = len(parts) == first + 3 and _NUMBERED.fullmatch(parts[-1]) is not None
    for index, part in enumerate(parts):
        has_user_and_password = "=" not in part and ":" in unquote(part)
        if has_user_and_password or _is_drawn_by_lot(part) or (is_of_portal and first <= index < first + 2):
            parts[index] = MASK
    return "/".join([host, *parts]) + mark + query


def _is_drawn_by_lot(part: str) -> bool:
    """Whether a part of a path looks like a key: long, of letters and digits that change again and again."""
    turns = re.findall(r"[A-Za-z](?=\d)|\d(?=[A-Za-z])", part)
    return re.fullmatch(r"[A-Za-z0-9_-]{16,}", part) is not None and len(turns) >= _NUM_TURNS_OF_LOT
