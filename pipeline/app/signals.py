"""Signals: Ctrl-C, SIGTERM and SIGHUP in any phase of a command → its end within a grace, with the signal's exit code.

Python runs a handler between two steps of the main thread, and so not while that waits for native code, such as an
inference that never returns. A thread beside it therefore reads of every signal at once, from a pipe, and ends the
process where the main thread does not come back in time.
"""

from __future__ import annotations

import atexit
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType, TracebackType
from typing import Any, Generic, TypeVar

from pipeline.flow.calls import THREAD_NAME

T = TypeVar("T")

GRACE_SECONDS = 5.0
_LOOK_SECONDS = 0.1  # how long the main thread waits at once: on Windows no signal ends a wait
_LEAVE_SECONDS = 0.5  # for a thread that is not waited for any longer to finish what it writes
_HURRY_SECONDS = 0.5  # for the main thread to come back after a second signal
_CLOSED = 0  # no signal has this number
_SWALLOWED = 128  # added to the number of a signal; none is as high
_AGAIN_SECONDS = 0.05


class Interrupted(KeyboardInterrupt):
    """Raised in the main thread by the first signal of a command."""

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.number = number


def exit_code_of(error: KeyboardInterrupt) -> int:
    """128 and the number of the signal, as shells have it: 130 for Ctrl-C, 143 for SIGTERM, 129 for SIGHUP."""
    return 128 + (error.number if isinstance(error, Interrupted) else signal.SIGINT)


class Signals:
    """Answers signals as long as it is entered, in the main thread; elsewhere it does nothing.

    The first one raises `Interrupted` in the main thread, or calls what `answered_by` says. A second one, and a main
    thread that does not come back to Python within `grace_seconds`, end the process at once. What is ignored, as by
    nohup, stays so, except Ctrl-C.

    end: takes the exit code and ends the process. on_hangup: what SIGHUP does instead, in another thread.
    """

    def __init__(
        self,
        *,
        grace_seconds: float = GRACE_SECONDS,
        end: Callable[[int], object] = os._exit,
        on_hangup: Callable[[], object] | None = None,
    ) -> None:
        self.numbers: list[int] = []  # of the signals that came
        self._grace_seconds = grace_seconds
        self._end = end
        self._on_hangup = on_hangup
        self._answer: Callable[[], object] | None = None
        self._is_raised = False
        self._is_back = threading.Event()  # the main thread runs Python again
        self._num_again = 0  # signals on the way that were raised in vain before
        self._handlers: dict[int, Any] = {}  # what signal.signal returned

    def __enter__(self) -> Signals:
        if threading.current_thread() is threading.main_thread():
            self._reader, self._writer = socket.socketpair()
            self._writer.setblocking(False)
            self._thread = threading.Thread(target=self._watch, name="signals", daemon=True)
            self._thread.start()
            self._old_hook = sys.unraisablehook
            sys.unraisablehook = self._hear_of_swallowed
            self._old_descriptor = signal.set_wakeup_fd(self._writer.fileno(), warn_on_full_buffer=False)
            for number in _handled():
                self._handlers[number] = signal.signal(number, self._in_main_thread)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for number, handler in self._handlers.items():
            signal.signal(number, handler)
        if self._handlers:
            sys.unraisablehook = self._old_hook
            signal.set_wakeup_fd(self._old_descriptor)
            self._writer.setblocking(True)
            self._writer.send(bytes((_CLOSED,)))
            self._thread.join()
            self._writer.close()
            self._reader.close()
            self._handlers = {}

    @contextmanager
    def answered_by(self, answer: Callable[[], object]) -> Iterator[None]:
        """Within it the first signal calls `answer`, in another thread, and raises nothing."""
        self._answer = answer
        try:
            yield
        finally:
            self._answer = None

    def wait_for(self, work: Callable[[], T]) -> T:
        """What `work` returns or raises, from a thread of its own, so that a signal ends the wait for native code.

        It is then left behind in its daemon thread, with a moment to finish what it writes.
        """
        if not self._handlers:
            return work()
        task = _Task(work)
        try:
            while task.is_alive():
                task.join(_LOOK_SECONDS)
        except KeyboardInterrupt:
            task.join(min(_LEAVE_SECONDS, self._grace_seconds))
            raise
        return task.result()

    def _in_main_thread(self, number: int, _: FrameType | None) -> None:
        if self._is_hangup(number):
            return
        # Plain attributes and an event that this thread never waits for: a handler may come between any two steps.
        is_first = not self._is_raised
        self._is_raised = True
        self._is_back.set()
        if is_first and self._answer is None:
            raise Interrupted(number)

    def _is_hangup(self, number: int) -> bool:
        return self._on_hangup is not None and number == getattr(signal, "SIGHUP", None)

    def _hear_of_swallowed(self, unraisable: sys.UnraisableHookArgs) -> None:
        """Let `Interrupted` be raised anew where native code, such as pydantic's, swallowed it and goes on."""
        error = unraisable.exc_value
        if isinstance(error, Interrupted):
            self._writer.send(bytes((_SWALLOWED + error.number,)))
        else:
            self._old_hook(unraisable)

    def _watch(self) -> None:
        while (number := self._reader.recv(1)[0]) != _CLOSED:
            if number > _SWALLOWED:
                time.sleep(_AGAIN_SECONDS)  # until the hook that told of it has returned, which would swallow it, too
                self._is_raised = False
                self._num_again += 1
                _send_to_main_thread(number - _SWALLOWED)
                continue
            if number not in self._handlers:
                continue
            if self._on_hangup is not None and self._is_hangup(number):
                self._on_hangup()
                continue
            if self._num_again:
                self._num_again -= 1
                continue
            self.numbers.append(number)
            if len(self.numbers) > 1:
                self._is_back.wait(_HURRY_SECONDS)
                self._end_at_once(number)
            answer = self._answer
            if answer is not None:
                answer()
            try:
                threading.Thread(target=self._end_unless_back, args=(number,), name="grace", daemon=True).start()
            except (RuntimeError, MemoryError):  # no further thread can be started
                self._end_unless_back(number)

    def _end_unless_back(self, number: int) -> None:
        if not self._is_back.wait(self._grace_seconds):
            self._end_at_once(number)

    def _end_at_once(self, number: int) -> None:
        with suppress(OSError):  # the terminal may be gone
            if os.isatty(2):
                os.write(2, b"\x1b[?25h")  # the panel hides the cursor
            os.write(2, b"\nstreamdet: stopped at once\n")
        self._end(128 + number)


class _Task(threading.Thread, Generic[T]):
    """A thread that keeps what its work returned or raised; it begins at once."""

    def __init__(self, work: Callable[[], T]) -> None:
        super().__init__(name=f"{THREAD_NAME} opening", daemon=True)
        self._work = work
        self._results: list[T] = []
        self._error: BaseException | None = None
        self.start()

    def run(self) -> None:
        try:
            self._results.append(self._work())
        except BaseException as error:
            self._error = error

    def result(self) -> T:
        """What the work returned; raises what it raised."""
        if self._error is not None:
            raise self._error
        return self._results[0]


def threads_left_behind() -> list[str]:
    """The names of our threads that are still in native code, though nobody waits for them any longer."""
    return [thread.name for thread in threading.enumerate() if thread.daemon and thread.name.startswith(THREAD_NAME)]


def end_process(status: int) -> None:
    """Leave with an exit code. Threads that were left behind are not waited for, nor may they come back meanwhile.

    Python would let native code of theirs return into an interpreter that is gone, which aborts the process.
    """
    if threads_left_behind():
        for stream in (sys.stdout, sys.stderr):
            with suppress(OSError, ValueError, AttributeError):
                stream.flush()
        atexit._run_exitfuncs()  # what os._exit leaves out: temporary folders
        os._exit(status)
    sys.exit(status)


def _send_to_main_thread(number: int) -> None:
    """As a signal from outside, which ends a wait of that thread; on Windows, it does not."""
    ident = threading.main_thread().ident
    if ident is None or sys.platform == "win32":
        signal.raise_signal(number)
    else:
        signal.pthread_kill(ident, number)


def _handled() -> list[int]:
    numbers = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]
    # A shell without job control starts what runs behind & with Ctrl-C ignored; who sends it by hand means it.
    return [number for number in numbers if number == signal.SIGINT or signal.getsignal(number) != signal.SIG_IGN]
