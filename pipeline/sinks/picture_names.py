"""Picture names: a frame → the name of its picture in a folder, the same for everything that a run writes.

An image keeps its own name, `bus.jpg`; with folders above it, `b/bus.jpg`, where another image has the same one but for
the suffix. A frame of a video is `street-000012.jpg`.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterable, Sequence
from itertools import count, takewhile
from pathlib import PurePath, PurePosixPath
from urllib.parse import urlsplit

from pipeline.picture.frame import Frame

MAX_NAME_BYTES = 255
"""What file systems take as the name of a file."""

_MAX_STEM_BYTES = 220  # of a source: recordings put a number or another name beside it


class PictureNames:
    """The names of the pictures of a run.

    source_ids, images: those of the run as far as they are known, because names must tell them apart; of other frames
    the name is made of the frame alone.
    """

    def __init__(self, source_ids: Sequence[str] = (), images: Iterable[str] = ()) -> None:
        self._stems = source_stems(source_ids)
        self._images = _names_of_images(images)

    def name_of(self, frame: Frame, *, suffix: str | None = None) -> str:
        """A relative path with slashes. suffix: such as `.png`, instead of the image's own, or of .jpg for a frame."""
        if frame.image is None:
            stem = self._stems.get(frame.source_id) or _stem_of(frame.source_id)
            return fitted(stem, f"-{frame.index:06d}{suffix or '.jpg'}")
        name = PurePosixPath(self.name_of_image(frame.image))
        return str(name if suffix is None else name.with_name(fitted(name.stem, suffix)))

    def name_of_image(self, image: str) -> str:
        """The name of an image's picture: a relative path with slashes. image: its file or address."""
        return self._images.get(image) or _name_of_image(image)

    @property
    def of_images(self) -> frozenset[str]:
        """The names of the images that are known."""
        return frozenset(self._images.values())

    def alike_but_for_suffix(self) -> tuple[str, str] | None:
        """Two images, such as a.jpg and a.png, of which a file named by the stem would not know which it is about."""
        first: dict[str, str] = {}
        for name in sorted(set(self._images.values())):
            stem = str(PurePosixPath(name).with_suffix(""))
            if stem in first:
                return first[stem], name
            first[stem] = name
        return None


def fitted(stem: str, ending: str = "", *, max_bytes: int = MAX_NAME_BYTES) -> str:
    """The name of a file: stem and ending; a stem too long for a file system is cut, and a hash tells it from others.

    >>> fitted("bus", "-0.jpg"), fitted("bus" * 90, "-0.jpg", max_bytes=24)
    ('bus-0.jpg', 'busbusbus-544c4909-0.jpg')
    """
    if len(os.fsencode(stem + ending)) <= max_bytes:
        return stem + ending
    content = os.fsencode(stem)
    ending = f"-{hashlib.sha256(content).hexdigest()[:8]}{ending}"
    return content[: max_bytes - len(os.fsencode(ending))].decode("utf-8", "ignore") + ending


def source_stems(source_ids: Sequence[str]) -> dict[str, str]:
    """A word of letters, digits, dots and dashes for each source, all different: `street`, `0`, `stream`."""
    stems: dict[str, str] = {}
    for number, source_id in enumerate(source_ids):
        stem = _stem_of(source_id) or str(number)
        others = (f"{stem}-{more}" for more in count(number))
        while stem in stems.values():
            stem = next(others)
        stems[source_id] = stem
    return stems


def _stem_of(source_id: str) -> str:
    if source_id == "-":
        return "stdin"
    return fitted(_word(PurePath(source_id).stem or source_id), max_bytes=_MAX_STEM_BYTES)


def _names_of_images(images: Iterable[str]) -> dict[str, str]:
    """The name of each image, below the folder that it shares with those of the same name but for the suffix."""
    alike: dict[str, list[str]] = {}
    for image in dict.fromkeys(images):
        alike.setdefault(PurePath(_name_of_image(image)).stem, []).append(image)
    names: dict[str, str] = {}
    for group in alike.values():
        folders = [_folders_above(image) for image in group]
        num_shared = sum(1 for _ in takewhile(lambda level: len(set(level)) == 1, zip(*folders, strict=False)))
        for image, above in zip(group, folders, strict=True):
            names[image] = "/".join([*above[num_shared:], _name_of_image(image)])
    return names


def _folders_above(image: str) -> list[str]:
    """The folders above a file from the root on, or above an address from the host on."""
    if "://" in image:
        parts = urlsplit(image)
        words = map(_word, (parts.netloc, *PurePosixPath(parts.path).parent.parts))
        return [word for word in words if word.strip(".")]
    path = PurePath(os.path.abspath(image))  # noqa: PTH100 - links stay as they are
    return [part for part in (path.anchor.strip("/\\:"), *path.parts[1:-1]) if part]


def _name_of_image(image: str) -> str:
    if "://" in image:
        name = PurePosixPath(_word(PurePosixPath(urlsplit(image).path).name) or "picture.jpg")
        return fitted(name.stem, name.suffix)
    return "stdin.jpg" if image == "-" else PurePath(image).name


def _word(text: str) -> str:
    return re.sub(r"[^\w.-]+", "_", text).strip("_")
