"""Webhook: each event is posted until a server has it, in order, under its id; no secret is shown."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from pipeline.errors import SinkError
from pipeline.sinks.events import delivery
from pipeline.sinks.events.delivery import Delivery, Refused, Undelivered
from pipeline.sinks.events.outbox import Message, Outbox
from pipeline.sinks.events.receivers import EventReceiver
from pipeline.sinks.events.webhook import Webhook
from tests.support.events import crossing, result_at


class Hook(ThreadingHTTPServer):
    """Answers with `codes`, then with 204; keeps what was posted."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.codes: list[int] = []
        self.posts: list[tuple[str, dict[str, str], bytes]] = []
        self.address = f"http://127.0.0.1:{self.server_port}/hook"


class _Handler(BaseHTTPRequestHandler):
    server: Hook

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        code = self.server.codes.pop(0) if self.server.codes else 204
        if code == 0:  # it dies with the event in its hands
            self.connection.close()
            return
        self.server.posts.append((self.path, dict(self.headers), body))
        self.send_response(code)
        self.send_header("Location", "/elsewhere")
        self.end_headers()

    def do_GET(self) -> None:
        self.server.posts.append(("GET", {}, b""))

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        pass


@pytest.fixture
def hook() -> Iterator[Hook]:
    with Hook() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def test_events_are_posted_until_a_server_that_dies_in_between_has_them(
    hook: Hook, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(delivery, "_FIRST_DELAY_SECONDS", 0.001)
    hook.codes = [200, 0, 503, 301, 404, 200]
    events = [crossing(number) for number in range(4)]
    sink = EventReceiver(Delivery(Webhook(hook.address), Outbox()))
    for event in events:
        sink.write(result_at(event.pts_seconds, event))
    sink.close()
    bodies = [json.loads(body) for _, _, body in hook.posts]
    order = list(dict.fromkeys(body["id"] for body in bodies))
    assert order == [event.id for event in events]
    assert [headers["Idempotency-Key"] for _, headers, _ in hook.posts] == [body["id"] for body in bodies]
    assert {path for path, _, _ in hook.posts} == {"/hook"}  # the redirect was not followed
    assert bodies[0] == {
        "id": events[0].id,
        "kind": "crossed",
        "source": "street.mp4",
        "name": "gate",
        "pts": 0.0,
        "frame": 0,
        "track_id": 7,
        "class_name": "person",
        "box": [1.0, 2.0, 5.0, 6.0],
        "direction": "in",
    }


def test_a_user_goes_into_a_header_and_no_secret_into_the_name(hook: Hook) -> None:
    webhook = Webhook(hook.address.replace("//", "//me:s%40cret@") + "/T0KEN?key=abc")
    webhook.deliver(Message("1", "{}"))
    path, headers, _ = hook.posts[0]
    assert path == "/hook/T0KEN?key=abc"
    assert headers["Authorization"] == "Basic bWU6c0BjcmV0"  # me:s@cret
    assert webhook.name == f"webhook http://127.0.0.1:{hook.server_port}/***"


def test_an_event_that_the_server_says_is_wrong_is_refused_and_one_without_a_server_waits(hook: Hook) -> None:
    hook.codes = [422]
    with pytest.raises(Refused, match="the server answered 422"):
        Webhook(hook.address).deliver(Message("1", "{}"))
    with pytest.raises(Undelivered, match="Connection refused") as caught:
        Webhook("http://me:secret@127.0.0.1:1/").deliver(Message("1", "{}"))
    assert "secret" not in str(caught.value)
    assert not isinstance(caught.value, Refused)


@pytest.mark.parametrize(
    "address",
    ["hooks.example/x", "ftp://a/b", "http:///x", "http://a:b:c/", "http://h:99999/", "http://h/a\nb", "http://[::1"],
)
def test_what_is_no_address_is_refused_without_being_shown(address: str) -> None:
    with pytest.raises(SinkError, match="--webhook must be http://HOST/PATH") as caught:
        Webhook(address)
    assert address not in str(caught.value)
