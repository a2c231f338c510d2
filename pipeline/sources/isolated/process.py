"""Child process: a module of ours → a process that reads a source, and the connection to it; it ends when we do.

A lifeline, a pipe of which we hold the other end, makes the kernel kill the process as soon as we are gone, in whatever
way: even where it is stuck in native code, or stopped. (PR_SET_PDEATHSIG would do so when the thread that started it
ends.) What happens in the process is in `child.py`.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
from collections.abc import Sequence
from contextlib import suppress

from pipeline.python_process import command_of, environment_of_child
from pipeline.sources.isolated.messages import Connection

GRACE_SECONDS = 0.5  # for a process that has been asked to end
_KILL_SECONDS = 2.0  # for one that was killed; one that hangs in the kernel is left behind
MODULE = "pipeline.sources.isolated.child"


class ChildProcess:
    """A process with a connection. Raises OSError where it cannot be started.

    command: what runs; the descriptors of its connection and of its lifeline are put behind it.
    """

    def __init__(self, command: Sequence[str] | None = None) -> None:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        readable, self._lifeline = os.pipe()
        try:
            descriptors = (theirs.fileno(), readable)
            self._process = subprocess.Popen(
                [*(command or command_of(MODULE)), *map(str, descriptors)],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,  # ours may be a stream of results
                env=environment_of_child(),
                pass_fds=descriptors,
                start_new_session=True,  # Ctrl-C is for us
            )
        except OSError:
            os.close(self._lifeline)
            ours.close()
            raise
        finally:
            theirs.close()
            os.close(readable)
        self.connection = Connection(ours)
        self._is_closed = False

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    def end(self) -> str:
        """End it, at once where it does not end itself; how it ended, which completes "the process …". Never hangs."""
        if not self._is_closed:
            self._is_closed = True
            self.connection.close()
            if self._code(GRACE_SECONDS) is None:
                self._process.kill()
                self._code(_KILL_SECONDS)
            os.close(self._lifeline)
        return how_it_ended(self._process.returncode)

    def has_ended(self) -> bool:
        """Whether it ended by itself, or does in a moment."""
        return self._code(GRACE_SECONDS) is not None

    def _code(self, seconds: float) -> int | None:
        with suppress(subprocess.TimeoutExpired):
            return self._process.wait(seconds)
        return None


def how_it_ended(code: int | None) -> str:
    """The exit code of a process in words, which complete "the process …"; None: it runs."""
    if code is None:
        return "does not end"
    if code >= 0:
        return f"ended with exit code {code}"
    try:
        name = f" ({signal.Signals(-code).name})"
    except ValueError:  # a real-time signal
        name = ""
    return f"was killed by signal {-code}{name}"
