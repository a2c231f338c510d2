"""Isolated source: a word → its pictures, which a process of their own reads, so that native code harms only itself.

A process that crashes, hangs or talks rubbish is killed. Of a live source, another one takes its place.
"""

from __future__ import annotations

import logging
import time
import weakref
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import pipeline.errors
from pipeline.errors import SourceError, StreamdetError
from pipeline.events import event
from pipeline.flow.stage import Stop
from pipeline.json_values import JsonObject
from pipeline.masking import masked_address
from pipeline.picture.frame import Picture, TimedPicture
from pipeline.sources.isolated import messages
from pipeline.sources.isolated.process import ChildProcess
from pipeline.sources.isolated.ring import MOST_LENT, Bytes, ReadRing
from pipeline.sources.options import SourceOptions
from pipeline.sources.reconnecting import ReconnectingSource
from pipeline.sources.source import FrameSource
from pipeline.sources.states import SourceStates

if TYPE_CHECKING:
    from pipeline.sources.video.planes import Form

START_SECONDS = 30.0  # that Python and the libraries may take on a busy machine
MARGIN_SECONDS = 2.0  # beyond network.read_timeout_s, so that a source says itself that its stream is silent
_LOOK_SECONDS = 0.1  # between two looks at whether the run wants to end

_Kind = TypeVar("_Kind")  # of a message


class ProcessLostError(SourceError):
    """The process that reads a source crashed, hung, or sent what cannot be understood."""


class IsolatedSource:
    """A source that another process reads: its pictures, times, numbers, damage and states are what they would be here.

    Raises what opening it here would raise, and ProcessLostError.

    file: what it reads, where that is a file. command: what runs instead of our own process, for tests.
    """

    def __init__(
        self,
        word: str,
        options: SourceOptions,
        *,
        file: Path | None = None,
        command: Sequence[str] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.source_id = masked_address(word)
        self.file = file
        self.states = SourceStates(is_live=True, clock=clock)
        self.damage: tuple[str, ...] = ()
        self.num_skipped = 0
        self._clock = clock
        self._read_seconds = options.network.read_timeout_s + MARGIN_SECONDS
        self._ring: ReadRing | None = None
        self._form: Form | None = None  # of the pictures that come now
        self._num_lent = 0  # slots whose pictures are in use
        self._freed: deque[messages.Taken] = deque()  # of these, that are so no longer; filled by any thread
        self._is_over = False
        try:
            self._process = ChildProcess(command)
        except OSError as error:
            raise SourceError(f"{self.source_id}: no process can be started to read it: {error.strerror}") from error
        try:
            self._connection = self._process.connection
            level = logging.getLogger("pipeline").getEffectiveLevel()
            order = messages.Order(word, messages.as_json(options), level)
            self._send(order)
            opening_seconds = START_SECONDS + options.network.open_timeout_s + self._read_seconds
            opened = self._next(messages.Opened, patience_seconds=opening_seconds)
            assert opened is not None
        except BaseException:
            self.close()
            raise
        self.source_id, self.is_live, self.is_special = str(opened.source_id), opened.is_live, opened.is_special
        self.size_wh, self.frames_per_second = opened.size_wh, opened.frames_per_second
        self.num_frames, self.codec_name = opened.num_frames, opened.codec_name

    @property
    def pid(self) -> int:
        """The id of the process that reads it."""
        return self._process.pid

    def keep_states(self, states: SourceStates) -> None:
        """Write into these from now on."""
        self.states = states

    def pictures(self, stop: Stop, *, every: int = 1) -> Iterator[TimedPicture]:
        self._send(messages.Begin(every))
        while (sent := self._next(messages.Sent, patience_seconds=self._read_seconds, stop=stop)) is not None:
            self.num_skipped = sent.num_skipped
            picture = self._picture_of(sent)
            self._give_back()
            yield TimedPicture(picture, sent.pts_seconds, sent.number, captured_at_seconds=sent.captured_at_seconds)

    def close(self) -> None:
        self._is_over = True
        self._process.end()

    def _picture_of(self, sent: messages.Sent) -> Picture:
        """The picture in its slot, which is lent until nobody has the picture; copied, where many slots are."""
        try:
            if self._ring is None or self._form is None:
                raise ValueError("a picture came before the memory that it lies in, or its form")
            lending = _Lending(messages.Taken(self._ring.number, sent.offset), self._freed)
            may_lend = self._num_lent < MOST_LENT
            memory = self._ring.slot(sent.offset)
            picture = self._form.picture(memory, lend=lending.begin if may_lend else None)
        except (ValueError, OverflowError, MemoryError) as error:
            raise self._lost(f"sent a picture that is none ({error})") from error
        self._num_lent += 1
        if not lending.has_begun:
            self._freed.append(lending.taken)
        return picture

    def _give_back(self) -> None:
        """Say which slots are free again."""
        while self._freed:
            self._send(self._freed.popleft())
            self._num_lent -= 1

    def _send(self, message: object) -> None:
        try:
            self._connection.send(message)
        except OSError as error:
            if not self._is_over:
                raise self._lost() from error

    def _next(self, kind: type[_Kind], *, patience_seconds: float, stop: Stop | None = None) -> _Kind | None:
        """The next message of a kind, the others attended to; None: the source ended, or is to end.

        patience_seconds: without a sign of life.
        """
        heard_at_seconds = self._clock()
        while not (self._is_over or (stop is not None and stop.is_set())):
            received = self._received()
            if received is not None:
                heard_at_seconds = self._clock()
                message, descriptor = received
                if isinstance(message, kind):
                    return message
                self._attend_to(message, descriptor)
            elif self._clock() - heard_at_seconds > patience_seconds:
                raise self._lost(f"gave no sign of life for {patience_seconds:g} s")
        return None

    def _received(self) -> tuple[object, int | None] | None:
        """What came, if anything did. Raises ProcessLostError where the process is gone, or talks rubbish."""
        try:
            return self._connection.receive(_LOOK_SECONDS)
        except messages.Rubbish as rubbish:
            raise self._lost(f"sent what cannot be understood: {rubbish}") from rubbish
        except (EOFError, OSError, ValueError) as error:  # ValueError: of a socket that was closed meanwhile
            if self._is_over:
                return None
            raise self._lost() from error

    def _attend_to(self, message: object, descriptor: int | None) -> None:
        match message:
            case messages.Alive():
                pass
            case messages.RingMade(num_bytes) if descriptor is not None:
                try:
                    number = 0 if self._ring is None else self._ring.number + 1
                    self._ring = ReadRing(descriptor, int(num_bytes), number=number)
                except (ValueError, TypeError) as error:
                    raise self._lost(f"gave no memory for pictures: {error}") from error
            case messages.Formed(form):
                self._form = self._form_of(form)
            case messages.Damaged(lines):
                self.damage = lines
            case messages.Ended(num_skipped, damage):
                self.num_skipped, self.damage = num_skipped, damage
                self.close()
            case messages.Lost(reason, retry_in_seconds):
                self.states.lose(reason, retry_in_seconds=retry_in_seconds)
            case messages.Connecting():
                self.states.connect()
            case messages.LogLine():
                _log(message)
            case messages.Failed(error, text, damage):
                self.damage = damage
                self.close()
                raise self._failure(error, text)
            case _:
                raise self._lost(f"sent {type(message).__name__} out of turn")

    def _form_of(self, content: JsonObject) -> Form:
        from pipeline.sources.video.planes import Form

        try:
            return Form.of_json(content)
        except (ValueError, TypeError, KeyError, OverflowError) as error:
            raise self._lost(f"sent a form of pictures that is none ({error})") from error

    def _failure(self, error: str, text: str) -> StreamdetError:
        """The error that the process met: ours as it is, another as a SourceError."""
        kind = getattr(pipeline.errors, error, None)
        if isinstance(kind, type) and issubclass(kind, StreamdetError):
            return kind(text)
        return SourceError(f"{self.source_id}: the process that reads it failed: {text}")

    def _lost(self, what: str | None = None) -> ProcessLostError:
        """The error of a process that is of use no longer, and is ended. what: it did; by default how it ended."""
        has_ended = what is None and self._process.has_ended()
        how = self._process.end()
        what = what or (how if has_ended else "closed the connection")
        return ProcessLostError(f"{self.source_id}: the process that reads it {what}")


class _Lending:
    """A slot, which is in use until the array that it is lent as is gone."""

    def __init__(self, taken: messages.Taken, freed: deque[messages.Taken]) -> None:
        self.taken = taken
        self.has_begun = False
        self._freed = freed

    def begin(self, array: Bytes) -> None:
        self.has_begun = True
        weakref.finalize(array, self._freed.append, self.taken).atexit = False


class RestartedSource(ReconnectingSource):
    """A live IsolatedSource whose process is replaced when it is lost; other breaks are mended in the process."""

    breaks = ProcessLostError
    breaks_in_words = "restarts of the process that reads it"
    is_endless = False


def open_isolated(
    word: str, options: SourceOptions, *, file: Path | None = None, refuse: Callable[[str], None]
) -> FrameSource | None:
    """Open a source in a process of its own; None where it holds images, which have no need of one.

    file: what the word means, if it is one. refuse: raises SourceError for what is not there, at no cost.
    Raises what opening it in this process would raise.
    """

    def open_process() -> IsolatedSource:
        refuse(word)
        return IsolatedSource(word, options, file=file)

    source = open_process()
    if source.is_special:
        source.close()
        return None
    if not source.is_live:
        return source
    return RestartedSource(source, open_process, reconnect_seconds=options.network.reconnect_s)


def _log(line: messages.LogLine) -> None:
    extra = event(line.event, **line.event_fields) if line.event else None
    logging.getLogger(line.logger).log(line.level, "%s", line.text, extra=extra)
