"""Camera: a clip → pictures at the pace of a camera, to viewers, with whatever is spoilt on request.

What a camera gives does not depend on who looks. A new viewer gets a key frame at once, as from most IP cameras.
"""

from __future__ import annotations

import contextlib
import random
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from benchmarks.soaking.clip import FPS, NUM_FRAMES, OTHER_WH, SIZE_WH, clip

PATIENCE_SECONDS = 3.0  # with a viewer that takes nothing; then its connection is closed


@dataclass(frozen=True, slots=True)
class CameraPicture:
    """What a camera gives at one tick."""

    seconds: float  # media time, with jumps
    h264: bytes  # Annex B
    jpeg: bytes
    is_key: bool


class Camera:
    """A camera that listens at a port of its own; subclasses say what a connection gets.

    The attributes that spoil it may be set from any thread, and hold from the next picture on.
    """

    scheme = ""
    path = ""

    def __init__(self, name: str, randomness: random.Random) -> None:
        self.name = name
        self.is_stalled = self.is_gone = self.is_white = self.is_other_size = False
        self.jump_seconds = 0.0  # of its timestamps, so far
        self.num_given = 0  # pictures that it gave, whether somebody looked or not
        self.spoil: Callable[[bytes], bytes] | None = None  # what becomes of the bytes of each picture
        self.randomness = randomness
        self._position = 0
        self._viewers: set[Viewer] = set()
        self._lock = threading.RLock()
        self._is_over = threading.Event()
        self._listener = _listening(0)
        self.port = int(self._listener.getsockname()[1])
        threading.Thread(target=self._tick, name=f"camera {name}", daemon=True).start()
        self._accept()

    @property
    def address(self) -> str:
        """What streamdet opens."""
        return f"{self.scheme}://127.0.0.1:{self.port}{self.path}"

    @property
    def is_giving(self) -> bool:
        """Whether a viewer could get pictures now."""
        return not (self.is_stalled or self.is_gone)

    def serve(self, viewer: Viewer) -> None:
        """Talk to one viewer, in a thread of its own, until it leaves."""
        raise NotImplementedError

    def see(self, picture: CameraPicture) -> None:
        """Take a picture into what is stored for viewers, where there is such a thing."""

    def add(self, viewer: Viewer) -> None:
        """From now on the viewer gets pictures, a key frame first."""
        with self._lock:
            self._viewers.add(viewer)
            self._position = -(-self._position // FPS) * FPS

    def cut(self) -> None:
        """Close every connection."""
        with self._lock:
            viewers, self._viewers = self._viewers, set()
        for viewer in viewers:
            viewer.close()

    def leave(self) -> None:
        """Be gone: nothing listens, and connections are closed."""
        self.is_gone = True
        self._listener.close()
        self.cut()

    def come_back(self) -> None:
        """Listen at the same port again."""
        self._listener = _listening(self.port)
        self.is_gone = False
        self._accept()

    def close(self) -> None:
        """End for good."""
        self._is_over.set()
        self.leave()

    def forget(self, viewer: Viewer) -> None:
        """Give a viewer nothing more."""
        with self._lock:
            self._viewers.discard(viewer)

    def _tick(self) -> None:
        due_at_seconds = time.monotonic()
        while not self._is_over.is_set():
            due_at_seconds += 1 / FPS
            time.sleep(max(0.0, due_at_seconds - time.monotonic()))
            if not self.is_giving:
                continue
            with self._lock:
                picture = self._next_picture()
                self.num_given += 1
                viewers = list(self._viewers)
            self.see(picture)
            for viewer in viewers:
                viewer.show(picture)

    def _next_picture(self) -> CameraPicture:
        chosen = clip(OTHER_WH if self.is_other_size else SIZE_WH, is_white=self.is_white)
        number = self._position % NUM_FRAMES
        self._position += 1
        return CameraPicture(
            time.monotonic() + self.jump_seconds, chosen.h264[number], chosen.jpeg[number], is_key=number % FPS == 0
        )

    def _accept(self) -> None:
        threading.Thread(target=self._accepting, args=(self._listener,), daemon=True).start()

    def _accepting(self, listener: socket.socket) -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:  # closed: the camera is gone
                return
            viewer = Viewer(self, connection)
            threading.Thread(target=viewer.run, daemon=True).start()


class Viewer:
    """One connection to a camera. packed: a picture → its bytes on the wire; set by what serves it."""

    def __init__(self, camera: Camera, connection: socket.socket) -> None:
        self._camera, self._connection = camera, connection
        self._writing = threading.Lock()
        self._has_key = False
        self.packed: Callable[[CameraPicture], bytes] = lambda _: b""
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, _timeval(PATIENCE_SECONDS))

    def run(self) -> None:
        """Serve until the connection ends."""
        with contextlib.suppress(OSError):
            self._camera.serve(self)
        self.close()

    def receive(self) -> bytes:
        """What the viewer sends; empty once it has left."""
        return self._connection.recv(65_536)

    def write(self, data: bytes) -> None:
        """Send bytes as they are. Raises OSError where the viewer has gone or takes nothing."""
        with self._writing:
            self._connection.sendall(data)

    def show(self, picture: CameraPicture) -> None:
        """Send a picture, spoilt or not; a viewer that does not take it is closed."""
        if not (self._has_key or picture.is_key):
            return
        self._has_key = True
        data, spoil = self.packed(picture), self._camera.spoil
        try:
            self.write(data if spoil is None else spoil(data))
        except OSError:
            self.close()

    def close(self) -> None:
        """Close the connection. May be called more than once."""
        self._camera.forget(self)
        with contextlib.suppress(OSError):
            self._connection.shutdown(socket.SHUT_RDWR)
        self._connection.close()


def _listening(port: int) -> socket.socket:
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind(("127.0.0.1", port))
    listener.listen(8)
    return listener


def _timeval(seconds: float) -> bytes:
    return int(seconds).to_bytes(8, "little") + int(seconds % 1 * 1e6).to_bytes(8, "little")
