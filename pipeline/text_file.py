"""Text files of other people's tools: bytes with or without a byte order mark become text."""

from __future__ import annotations

import codecs
import errno
from pathlib import Path

_MARKS = ((codecs.BOM_UTF8, "utf-8-sig"), (codecs.BOM_UTF16_LE, "utf-16"), (codecs.BOM_UTF16_BE, "utf-16"))


def read_text(path: Path) -> str:
    """The text of a file in UTF-8, or in UTF-16 where a byte order mark says so, as Windows' editors write it.

    Raises OSError for a file that cannot be read or is not regular, which might never end, and UnicodeDecodeError for
    bytes that are not such text.
    """
    if "\0" in str(path):
        raise OSError(errno.EINVAL, "its name has a zero byte", str(path))
    if path.exists() and not path.is_file():
        raise OSError(errno.EINVAL, "it is not a regular file", str(path))
    content = path.read_bytes()
    encoding = next((name for mark, name in _MARKS if content.startswith(mark)), "utf-8")
    text = content.decode(encoding)
    if encoding == "utf-16" and not any(character.isascii() for character in text):  # two bytes alone prove nothing
        raise UnicodeDecodeError(encoding, content, 0, len(content), "no text but a mark as UTF-16 has it")
    return text
