"""Viewer: messages for one browser → the next one to send, from a queue that is cut where the browser is too slow."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

from pipeline.serve.messages import drop_message, media_message
from pipeline.serve.remux import Init

_LEAST_SEGMENTS = 50
_MOST_ITEMS = 2000
_MOST_BYTES = 16 << 20  # in the queue of one viewer; a GOP of a 4K camera is a few megabytes


@dataclass(frozen=True, slots=True)
class Unit:
    """Fragments that are sent as one message, the same object to all viewers.

    message: of `media_message`. texts: those in it, for a viewer that cannot take the fragments. is_keyframe: whether
    decoding can begin with the first.
    """

    message: bytes
    num_pictures: int
    is_keyframe: bool
    texts: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class _Item:
    message: str | bytes
    num_pictures: int = 0  # 1: a fragment or a JPEG
    init: Init | None = None


class Viewer:
    """The queue of a browser. Used in the server's loop alone, which sends; nobody who puts ever waits.

    Where it holds more than about one GOP, everything goes, and it begins again with the next key frame.
    """

    def __init__(self) -> None:
        self._items: deque[_Item] = deque()
        self._has_items = asyncio.Event()
        self._init: Init | None = None  # that was put last
        self.has_jpeg_start = False
        self._newest: list[str | bytes] = []  # a JPEG, and its boxes, which are sent first
        self._needs_keyframe = True
        self._is_cut = False  # and waits for a key frame
        self._num_pictures = self._num_bytes = 0  # in the queue
        self._most_pictures = _LEAST_SEGMENTS
        self._num_left_out = 0
        self.num_dropped = 0
        self.is_over = False

    def put_text(self, message: str) -> None:
        """A text that can wait for nothing."""
        self._put(_Item(message))

    def put_start(self, text: str, init: Init | None) -> None:
        """A new stream: its init text, and its init segment, if it has one."""
        self._needs_keyframe, self.has_jpeg_start = True, init is None
        self._put(_Item(text, init=init))
        self._init = init
        if init is not None:
            self._put(_Item(media_message(init.data), init=init))

    def has_start(self, init: Init | None) -> bool:
        """Whether it has that init segment, or it waits in the queue."""
        return init is not None and self._init is init

    def put_unit(self, unit: Unit, *, gop: int) -> None:
        """Fragments. gop: how many the last GOP had, which the queue must have room for."""
        self._most_pictures = max(_LEAST_SEGMENTS, 2 * gop)
        if self._needs_keyframe and not unit.is_keyframe:
            self._num_left_out += self._is_cut * unit.num_pictures
            for text in unit.texts:
                self.put_text(text)
            return
        self._needs_keyframe = self._is_cut = False
        self._say_what_was_left_out()
        self._put(_Item(unit.message, unit.num_pictures))

    def put_picture(self, data: bytes, boxes: str) -> None:
        """A JPEG and its boxes, in place of one that still waits: the newest is enough."""
        self._num_left_out += bool(self._newest)
        self._say_what_was_left_out()
        self._newest = [data, boxes]
        self._has_items.set()

    def end(self, message: str) -> None:
        """The last message."""
        self.put_text(message)
        self.is_over = True

    async def next(self) -> str | bytes | None:
        """The next message to send, as soon as there is one; None: it is over."""
        while not self._items:
            if self._newest:
                return self._newest.pop()
            if self.is_over:
                return None
            self._has_items.clear()
            await self._has_items.wait()
        item = self._items.popleft()
        self._num_pictures -= item.num_pictures
        self._num_bytes -= len(item.message)
        return item.message

    def _put(self, item: _Item) -> None:
        if self.is_over:
            return
        self._items.append(item)
        self._num_pictures += item.num_pictures
        self._num_bytes += len(item.message)
        self._has_items.set()
        if self._num_pictures > self._most_pictures or self._num_bytes > _MOST_BYTES or len(self._items) > _MOST_ITEMS:
            self._clear()

    def _clear(self) -> None:
        """Drop everything, and wait for a key frame."""
        if any(item.init is not None for item in self._items):
            self._init = None  # it has not seen it
        self._num_left_out += self._num_pictures
        self._items.clear()
        self._num_pictures = self._num_bytes = 0
        self._needs_keyframe = self._is_cut = True

    def _say_what_was_left_out(self) -> None:
        num, self._num_left_out = self._num_left_out, 0
        if num:
            self.num_dropped += num
            self._put(_Item(drop_message(num)))
