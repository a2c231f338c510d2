"""Outbox: messages that are to be delivered → the same in order, until each is delivered or given up.

In memory, or in a file, which the next run goes on with: a message is in the file before anybody tries to deliver it,
and leaves it only once it was delivered, so that a kill loses none.
"""

from __future__ import annotations

import sqlite3
import threading
from dataclasses import dataclass
from pathlib import Path

from pipeline.errors import SinkError
from pipeline.whole_file import make_parents

_BUSY_SECONDS = 2.0  # that another run may hold the file


@dataclass(frozen=True, slots=True)
class Message:
    """Something to deliver. id: the same whenever the same thing is sent again. body: JSON, ASCII."""

    id: str
    body: str


class Outbox:
    """Messages in the order in which they came, at most `capacity`; beyond it the oldest is given up.

    path: the file; None keeps them in memory. A message whose id waits already is not kept twice. From any thread.
    Raises SinkError for a file that cannot be written, or holds something else.
    """

    def __init__(self, path: Path | None = None, *, capacity: int = 10_000) -> None:
        self._capacity, self._where = capacity, str(path or "memory")
        self._lock = threading.Lock()
        self._is_closed = False
        self._taken: set[str] = set()  # by a worker that delivers it now
        try:
            if path is not None:
                make_parents(path)
            self._database = sqlite3.connect(path or ":memory:", check_same_thread=False, timeout=_BUSY_SECONDS)
            self._database.execute("PRAGMA journal_mode=WAL")
            self._database.execute("PRAGMA synchronous=NORMAL")
            self._database.execute(
                "CREATE TABLE IF NOT EXISTS message (number INTEGER PRIMARY KEY, id TEXT UNIQUE, body TEXT)"
            )
            self._database.commit()
        except (sqlite3.Error, OSError) as error:
            raise SinkError(f"{self._where}: events cannot be kept there: {error}; name another folder") from error

    def put(self, message: Message) -> int:
        """Keep a message. Returns how many were given up for it. Raises SinkError if it cannot be kept."""
        with self._lock:
            try:
                row = (message.id, message.body)
                self._database.execute("INSERT OR IGNORE INTO message (id, body) VALUES (?, ?)", row)
                num_over = max(0, self._count() - self._capacity)
                oldest = "SELECT number FROM message ORDER BY number LIMIT ?"
                self._database.execute(f"DELETE FROM message WHERE number IN ({oldest})", (num_over,))
                self._database.commit()
            except sqlite3.Error as error:
                raise SinkError(f"{self._where}: an event cannot be kept: {error}") from error
            return num_over

    def take(self) -> Message | None:
        """The oldest message that nobody delivers yet; None where there is none. It stays until it is removed."""
        with self._lock:
            query = "SELECT id, body FROM message ORDER BY number LIMIT ?"
            rows = self._database.execute(query, (len(self._taken) + 1,)).fetchall()
            message = next((Message(*row) for row in rows if row[0] not in self._taken), None)
            if message is not None:
                self._taken.add(message.id)
            return message

    def remove(self, message: Message) -> None:
        """Forget a message that was delivered or given up; nothing where that is noticed only after `close`."""
        with self._lock:
            if self._is_closed:
                return
            self._database.execute("DELETE FROM message WHERE id = ?", (message.id,))
            self._database.commit()
            self._taken.discard(message.id)

    def __len__(self) -> int:
        with self._lock:
            return self._count()

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._is_closed = True
            self._database.close()

    def _count(self) -> int:
        return int(self._database.execute("SELECT COUNT(*) FROM message").fetchone()[0])
