"""Systemd: how a run is → messages to the service manager, as sd_notify sends them; nothing without one.

READY=1 once frames flow, WATCHDOG=1 while they go on flowing, STOPPING=1 when the run ends.
See https://www.freedesktop.org/software/systemd/man/latest/sd_notify.html
"""

from __future__ import annotations

import logging
import os
import socket
import time
from collections.abc import Callable, Mapping

from pipeline.app.run.health import Verdict

logger = logging.getLogger(__name__)

_STATUS_SECONDS = 10.0  # how often the status line is sent


class Systemd:
    """Tells the service manager that started this process; see `NOTIFY_SOCKET` and `WATCHDOG_USEC`."""

    def __init__(
        self, environment: Mapping[str, str] = os.environ, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._address = environment.get("NOTIFY_SOCKET", "")
        self._clock = clock
        self._watchdog_seconds = _watchdog_seconds(environment)
        self._is_ready = self._is_stopping = False
        self._next_ping_seconds = self._next_status_seconds = float("-inf")

    def observe(self, verdict: Verdict, status: str) -> None:
        """Say how the run is: a run that is not well sends no WATCHDOG=1, so that it is started anew."""
        now, messages = self._clock(), []
        if verdict.is_well and not self._is_ready:
            self._is_ready = True
            messages.append("READY=1")
        if verdict.is_well and self._watchdog_seconds is not None and now >= self._next_ping_seconds:
            self._next_ping_seconds = now + self._watchdog_seconds / 3
            messages.append("WATCHDOG=1")
        if now >= self._next_status_seconds:
            self._next_status_seconds = now + _STATUS_SECONDS
            messages.append(f"STATUS={status if verdict.is_well else verdict.reason}")
        self._send(messages)

    def stopping(self) -> None:
        """Say, once, that the run ends."""
        if not self._is_stopping:
            self._is_stopping = True
            self._send(["STOPPING=1"])

    def _send(self, messages: list[str]) -> None:
        if not messages or not self._address:
            return
        address = "\0" + self._address[1:] if self._address.startswith("@") else self._address  # @: an abstract one
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as channel:
                channel.setblocking(False)
                channel.sendto("\n".join(messages).encode("utf-8", "replace"), address)
        except (OSError, ValueError) as error:
            logger.debug("NOTIFY_SOCKET cannot be written to: %s", error)


def _watchdog_seconds(environment: Mapping[str, str]) -> float | None:
    """How often the manager must hear of this process; None: it does not watch it."""
    try:
        microseconds = int(environment.get("WATCHDOG_USEC", "0"))
        process_id = int(environment.get("WATCHDOG_PID", os.getpid()))
    except ValueError:
        return None
    return microseconds / 1e6 if microseconds > 0 and process_id == os.getpid() else None
