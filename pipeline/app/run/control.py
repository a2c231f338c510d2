"""Control: a Unix socket → calls of a supervisor; a line of JSON for each request, and one for the answer.

    {"command": "add", "source": {"url": "rtsp://door/stream", "name": "door"}}      {"ok": "door"}
    {"command": "pause", "name": "door"}                                             {"ok": "door"}
    {"command": "list"}                                                              {"ok": [{"name": "door", …}]}

What cannot be done is answered with {"error": …}, one line that says why. Only the user whose run it is may connect.
"""

from __future__ import annotations

import json
import os
import socket
import socketserver
import stat
import threading
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any

from pipeline.app.config.loading import source_of
from pipeline.app.run.supervisor import SourceStatus, Supervisor
from pipeline.errors import ConfigError, StreamdetError, reason_of
from pipeline.json_values import Json, JsonKeyError, parse_json

_MOST_BYTES = 65_536  # of a request
_IDLE_SECONDS = 60.0  # after which a connection without a request is closed
_MOST_PATH_BYTES = 107  # that an address of a Unix socket has room for


_KEYS: Mapping[str, str | None] = {"add": "source", "remove": "name", "pause": "name", "resume": "name", "list": None}
"""Each command, and the key that goes with it."""


class Control:
    """Listens at a socket while it is a context manager, and removes it at the end.

    The socket's folder is made where it is missing, for this user alone. Raises ConfigError for a path that cannot be
    a socket, where another run listens, or in a folder in which others may replace it.
    """

    def __init__(self, path: Path, supervisor: Supervisor) -> None:
        refuse_socket(path)
        self._path = path
        try:
            self._server = _listening(path, supervisor)
            status = path.stat()
        except OSError as error:
            raise ConfigError(f"--control must be a socket that can be made, got {path}: {reason_of(error)}") from error
        self._identity = status.st_dev, status.st_ino
        self._thread = threading.Thread(target=self._server.serve_forever, name="control", daemon=True)

    def __enter__(self) -> Control:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
        with suppress(OSError):
            status = self._path.stat()
            if (status.st_dev, status.st_ino) == self._identity:  # and not that of another run
                self._path.unlink()


def answer(line: bytes, supervisor: Supervisor) -> dict[str, Json]:
    """What is answered to one request."""
    try:
        value = parse_json(line)
    except JsonKeyError as error:
        return {"error": f"a request cannot be read: {error}"}
    except ValueError:
        return {"error": 'a request must be one line of JSON, such as {"command": "list"}'}
    try:
        return {"ok": _done(value, supervisor)}
    except StreamdetError as error:
        return {"error": str(error)}


def _done(request: object, supervisor: Supervisor) -> Json:
    """Do what a request asks for. Raises a StreamdetError for anything else, and for what the run refuses."""
    values = request if isinstance(request, dict) else {}
    command = values.get("command")
    if not isinstance(command, str) or command not in _KEYS:
        raise ConfigError(f"command must be one of {', '.join(_KEYS)}")
    key = _KEYS[command]
    if set(values) != {"command", key} - {None}:
        needs = "no other key" if key is None else f"the key {key} and no other"
        raise ConfigError(
            f"{command} must have {needs}, got {', '.join(map(str, set(values) - {'command'})) or 'none'}"
        )
    if command == "list":
        return [_in_json(status) for status in supervisor.sources()]
    if command == "add":
        return supervisor.add(source_of(values["source"], "the request"))
    name = values["name"]
    if not isinstance(name, str):
        raise ConfigError(f"name must be text, got {type(name).__name__}")
    if command == "remove":
        supervisor.remove(name)
    else:
        supervisor.pause(name, is_paused=command == "pause")
    return name


def _in_json(status: SourceStatus) -> dict[str, Json]:
    return {**status.as_json(), "model": status.model}


def refuse_socket(path: Path) -> None:
    """Raise ConfigError for a path at which `Control` cannot listen, before work that takes long."""
    if not hasattr(socket, "AF_UNIX"):
        raise ConfigError("--control needs Unix sockets, which this system does not have; leave it out")
    if len(os.fsencode(path)) > _MOST_PATH_BYTES:
        raise ConfigError(f"--control must be a path of at most {_MOST_PATH_BYTES} bytes, got {path}")
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        mode = path.parent.stat().st_mode
        is_there = path.is_socket()
    except OSError as error:
        raise ConfigError(f"--control must be a socket that can be made, got {path}: {reason_of(error)}") from error
    if mode & 0o022 and not mode & stat.S_ISVTX:
        raise ConfigError(
            f"--control must be in a folder that others cannot write to, got {path}; chmod go-w its folder"
        )
    if is_there and _is_alive(path):
        raise ConfigError(f"--control must be a socket of this run alone, another run listens at {path}")
    if not is_there and (path.exists() or path.is_symlink()):
        raise ConfigError(f"--control must be a path where no file is, got {path}")
    if is_there:
        path.unlink()  # of a run that was killed


def _is_alive(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(1.0)
        try:
            connection.connect(str(path))
        except (ConnectionRefusedError, FileNotFoundError):
            return False
        except OSError:  # busy, or another user's
            return True
    return True


def _listening(path: Path, supervisor: Supervisor) -> socketserver.BaseServer:
    """A server that is bound to the socket, for this user alone."""

    class Handler(socketserver.StreamRequestHandler):
        timeout = _IDLE_SECONDS

        def handle(self) -> None:
            with suppress(OSError):  # the other side has gone, or said nothing
                while line := self.rfile.readline(_MOST_BYTES):
                    self.wfile.write(json.dumps(answer(line, supervisor)).encode() + b"\n")
                    if not line.endswith(b"\n"):  # too long, so that the rest is not a request
                        return

    class Server(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
        daemon_threads = True

        def server_bind(self) -> None:
            super().server_bind()
            path.chmod(0o600)  # before anyone can connect, and without a umask, which other threads would have too

        def handle_error(self, request: Any, client_address: Any) -> None:
            raise

    return Server(str(path), Handler)
