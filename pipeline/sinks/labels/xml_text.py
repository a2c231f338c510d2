"""XML text: an element of a tree → its bytes, whatever names are in it."""

from __future__ import annotations

import re
from xml.etree import ElementTree

_NO_CHARACTERS = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def xml_of(element: ElementTree.Element, *, level: int = 0) -> bytes:
    """Indented XML in UTF-8, without a declaration; characters that XML cannot have become U+FFFD."""
    ElementTree.indent(element, level=level)
    text = ElementTree.tostring(element, encoding="unicode", short_empty_elements=True)
    return _NO_CHARACTERS.sub("\ufffd", text).encode()


def add(parent: ElementTree.Element, tag: str, text: object = None) -> ElementTree.Element:
    """Put an element with a text into another one."""
    element = ElementTree.SubElement(parent, tag)
    element.text = None if text is None else str(text)
    return element
