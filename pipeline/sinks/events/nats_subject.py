"""NATS subject: an event → a message to a subject of a NATS server, each until a stream there (JetStream) has it.

The id goes along as `Nats-Msg-Id`, by which the stream drops what comes to it again within its window.
https://docs.nats.io/using-nats/developer/develop_jetstream/model_deep_dive#message-deduplication
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine
from concurrent.futures import CancelledError
from contextlib import suppress
from typing import TYPE_CHECKING, Any
from urllib.parse import SplitResult, unquote, urlsplit

from pipeline.errors import MissingExtraError, SinkError, first_line
from pipeline.sinks.events.delivery import Undelivered
from pipeline.sinks.events.outbox import Message

if TYPE_CHECKING:
    from nats.aio.client import Client

_PORT = 4222
_ANSWER_SECONDS = 5.0  # for a connection, and for the stream's acknowledgement


class NatsSubject:
    """Publishes messages one by one over a connection that is kept, and made anew by the next message where it broke.

    answer_seconds: how long a connection, and then an acknowledgement, is waited for.
    Raises SinkError for an address of another kind, or without a subject, and MissingExtraError without nats-py.
    """

    def __init__(self, address: str, *, answer_seconds: float = _ANSWER_SECONDS) -> None:
        self._parts = _split(address)
        self._subject = unquote(self._parts.path.lstrip("/"))
        self.name = f"nats {self._parts.hostname}/{self._subject}"
        self._answer_seconds = answer_seconds
        self._client: Client | None = None
        self._broken = asyncio.Event()
        try:
            import nats  # noqa: F401
        except ImportError as error:
            raise MissingExtraError('--nats needs nats-py: pip install "streamdet[nats]"') from error
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name=self.name, daemon=True)
        self._thread.start()

    def deliver(self, message: Message) -> None:
        """Publish a message. Raises Undelivered where there is no connection, no stream, or no answer in time."""
        future = asyncio.run_coroutine_threadsafe(self._publish(message), self._loop)
        try:
            future.result(2 * self._answer_seconds + 1)
        except TimeoutError as error:
            future.cancel()
            raise Undelivered("no acknowledgement in time") from error
        except CancelledError as error:  # of the library, where the connection breaks
            raise Undelivered("the connection to the server broke") from error

    def close(self) -> None:
        """Say goodbye to the server."""
        with suppress(TimeoutError, CancelledError):
            asyncio.run_coroutine_threadsafe(self._disconnect(), self._loop).result(self._answer_seconds)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(self._answer_seconds)
        if not self._thread.is_alive():
            self._loop.close()

    # Called in the loop's thread.

    async def _publish(self, message: Message) -> None:
        from nats.errors import Error
        from nats.errors import TimeoutError as NatsTimeoutError
        from nats.js.errors import NoStreamResponseError

        try:
            client = await self._connected()
            await self._unless_broken(
                client.jetstream().publish(
                    self._subject,
                    message.body.encode(),
                    timeout=self._answer_seconds,
                    headers={"Nats-Msg-Id": message.id},
                )
            )
        except NoStreamResponseError as error:
            raise Undelivered(f"no stream of the server takes {self._subject}; add one (nats stream add)") from error
        except (NatsTimeoutError, TimeoutError) as error:
            await self._disconnect()
            raise Undelivered("no acknowledgement in time") from error
        except (Error, OSError) as error:
            await self._disconnect()
            raise Undelivered(first_line(error).removeprefix("nats: ")) from error

    async def _unless_broken(self, answer: Coroutine[Any, Any, object]) -> None:
        """Wait for an answer as long as the connection holds; the library would wait for one that cannot come."""
        publishing, breaking = asyncio.create_task(answer), asyncio.create_task(self._broken.wait())
        await asyncio.wait((publishing, breaking), return_when=asyncio.FIRST_COMPLETED)
        breaking.cancel()
        if not publishing.done():
            publishing.cancel()
            raise ConnectionError("the connection to the server broke")
        publishing.result()

    async def _note_break(self) -> None:
        self._broken.set()

    async def _connected(self) -> Client:
        from nats.aio.client import Client

        if self._client is None or not self._client.is_connected:
            await self._disconnect()
            parts, self._client, self._broken = self._parts, Client(), asyncio.Event()
            await self._client.connect(
                f"{parts.scheme}://{_host(parts)}:{parts.port or _PORT}",
                user=unquote(parts.username) if parts.username else None,
                password=unquote(parts.password) if parts.password else None,
                error_cb=_ignore,
                disconnected_cb=self._note_break,
                allow_reconnect=False,
                connect_timeout=max(1, round(self._answer_seconds)),
            )
        return self._client

    async def _disconnect(self) -> None:
        client, self._client = self._client, None
        if client is not None:
            await client.close()
            await asyncio.sleep(0)  # for its transport to close, one turn of the loop later


async def _ignore(error: Exception) -> None:
    """What the library would log; whoever waits for an answer hears of it."""


def _host(parts: SplitResult) -> str:
    host = parts.hostname or ""
    return f"[{host}]" if ":" in host else host


def _split(address: str) -> SplitResult:
    form = "nats://[USER:PASSWORD@]HOST[:PORT]/SUBJECT, or tls://"
    try:
        parts = urlsplit(address.strip())
        subject = unquote(parts.path.lstrip("/"))
        is_usable = parts.scheme in ("nats", "tls") and bool(parts.hostname) and parts.port != 0 and bool(subject)
    except ValueError:
        is_usable = False
    if not is_usable:
        raise SinkError(f"--nats must be {form}; got another address, not shown here, in which a password may be")
    is_subject = all(subject.split(".")) and not any(letter.isspace() or letter in "*>/\0" for letter in subject)
    if parts.query or parts.fragment or not is_subject:
        raise SinkError(f"--nats must be {form}; a subject is words between dots, without * and >, got {subject!r}")
    return parts
