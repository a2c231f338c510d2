"""The site: who may come in, what the API does, and what a WebSocket gets, by starlette's client."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

starlette_testclient = pytest.importorskip("starlette.testclient", reason="the extra serve is not installed")
pytest.importorskip("uvicorn", reason="the extra serve is not installed")

from starlette.websockets import WebSocketDisconnect  # noqa: E402

from pipeline.picture.counting.counts import Counts, LineCounts, ZoneCounts  # noqa: E402
from pipeline.picture.counting.event import Event  # noqa: E402
from pipeline.picture.detections import Detections, Result  # noqa: E402
from pipeline.picture.frame import Frame  # noqa: E402
from pipeline.serve.site import site  # noqa: E402
from pipeline.serve.trust import Bucket, Policy  # noqa: E402
from pipeline.serve.view import LiveView, ViewOptions  # noqa: E402
from pipeline.serve.viewer import Viewer  # noqa: E402
from pipeline.sources.packets import CodedStream, HasPackets, PacketListener  # noqa: E402
from pipeline.testing import StepClock  # noqa: E402
from tests.support.coded_videos import coded_video, packets_of  # noqa: E402
from tests.support.events import crossing  # noqa: E402
from tests.support.live_surface import FakeSurface, served  # noqa: E402

TOKEN = "a-token-of-a-test"
LOCAL = Policy(port=80)
REMOTE = Policy(TOKEN, port=80)


def result(number: int, num_boxes: int = 1, size_wh: tuple[int, int] = (96, 64)) -> Result:
    frame = Frame.from_pixels(np.full((size_wh[1], size_wh[0], 3), 40 + number, np.uint8), index=number)
    boxes = np.tile(np.array([[number, 1, number + 9, 11]], np.float32), (num_boxes, 1))
    return Result(
        frame, Detections(boxes, np.full(num_boxes, 0.5, np.float32), np.zeros(num_boxes, np.int64)), ("cat",)
    )


class PacketSource:
    """A source whose packets are heard, without pictures."""

    def __init__(self) -> None:
        self.listener: PacketListener | None = None

    def listen(self, listener: PacketListener) -> None:
        self.listener = listener


def client(surface: FakeSurface, policy: Policy = LOCAL, *, host: str = "127.0.0.1") -> Any:
    return starlette_testclient.TestClient(site(surface, policy), base_url=f"http://{host}", follow_redirects=False)


@pytest.fixture
def surface() -> FakeSurface:
    view = LiveView(ViewOptions("front door", ("cat",)))
    view.write(result(3))
    return FakeSurface({"front door": view})


def eventually(holds: Callable[[], bool]) -> bool:
    """Whether something comes to hold; another thread is at it."""
    ends_at = time.monotonic() + 10
    waiting = threading.Event()
    while not holds() and time.monotonic() < ends_at:
        waiting.wait(0.005)
    return holds()


# Trust.


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example", "", "192.0.2.7", "[::1", "localhost.evil"])
def test_another_name_for_this_machine_is_not_answered(surface: FakeSurface, host: str) -> None:
    answer = client(surface).get("/api/sources", headers={"Host": host})
    assert answer.status_code == 421


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1:80", "[::1]:80", "LOCALHOST:80"])
def test_this_machine_is_answered_by_its_names(surface: FakeSurface, host: str) -> None:
    assert client(surface).get("/api/sources", headers={"Host": host}).status_code == 200


def test_with_a_token_an_ip_is_answered_and_a_foreign_name_is_not(surface: FakeSurface) -> None:
    headers = {"Authorization": f"Bearer {TOKEN}"}
    assert client(surface, REMOTE, host="192.0.2.7").get("/api/sources", headers=headers).status_code == 200
    assert client(surface, REMOTE, host="evil.example").get("/api/sources", headers=headers).status_code == 421


@pytest.mark.parametrize("path", ["/", "/main.js", "/api", "/api/sources", "/healthz", "/snapshot/front_door.jpg"])
def test_without_the_token_nothing_is_given(surface: FakeSurface, path: str) -> None:
    for headers in ({}, {"Authorization": "Bearer wrong"}, {"Cookie": f"streamdet-80={TOKEN}"}):
        answer = client(surface, REMOTE).get(path, headers=headers)
        assert answer.status_code == 401
        assert TOKEN not in answer.text


def test_the_token_in_the_address_becomes_a_cookie_that_scripts_cannot_read(surface: FakeSurface) -> None:
    browser = client(surface, REMOTE)
    answer = browser.get(f"/?open={TOKEN}")
    assert (answer.status_code, answer.headers["location"]) == (303, "/")
    cookie = answer.headers["set-cookie"].lower()
    assert "httponly" in cookie
    assert "samesite=strict" in cookie
    assert TOKEN not in cookie
    assert browser.get("/api/sources").status_code == 200


def test_wrong_tokens_are_slowed_down_and_the_cookie_still_opens(surface: FakeSurface) -> None:
    browser = client(surface, REMOTE)
    browser.get(f"/?open={TOKEN}")
    guesser = starlette_testclient.TestClient(browser.app, base_url="http://127.0.0.1")
    codes = [guesser.get("/?open=guess").status_code for _ in range(40)]
    assert codes[0] == 401
    assert codes[-1] == 429
    assert browser.get("/api/sources").status_code == 200


def test_another_sites_page_may_neither_change_nor_watch(surface: FakeSurface) -> None:
    browser = client(surface)
    for headers in ({"Origin": "http://evil.example"}, {"Origin": "null"}, {"Sec-Fetch-Site": "cross-site"}):
        assert browser.patch("/api/settings", json={"score_threshold": 1}, headers=headers).status_code == 403
        assert browser.get("/snapshot/front_door.jpg", headers=headers).status_code == 403
    with (
        pytest.raises(WebSocketDisconnect),
        browser.websocket_connect("ws://127.0.0.1/ws/view/front_door", headers={"Origin": "http://evil.example"}),
    ):
        pass
    assert surface.calls == []
    same = {"Origin": "http://127.0.0.1", "Sec-Fetch-Site": "same-origin"}
    assert browser.patch("/api/settings", json={"score_threshold": 1}, headers=same).status_code == 200


def test_every_answer_has_the_headers_that_browsers_heed(surface: FakeSurface) -> None:
    for path in ("/", "/api", "/nothing", "/snapshot/front_door.jpg"):
        headers = client(surface).get(path).headers
        assert "default-src 'none'" in headers["content-security-policy"]
        assert headers["x-content-type-options"] == "nosniff"


def test_a_bucket_lets_a_burst_through_and_then_a_few() -> None:
    clock = StepClock()
    bucket = Bucket(2, 1.0, clock)
    assert [bucket.take() for _ in range(3)] == [True, True, False]
    clock.advance(1.0)
    assert [bucket.take() for _ in range(2)] == [True, False]


# The API.


def test_the_page_and_what_it_loads_are_there(surface: FakeSurface) -> None:
    browser = client(surface)
    page = browser.get("/").text
    assert "<script>" not in page
    assert "http" not in page.replace("http://www.w3.org", "")
    for name in ("main.js", "player.js", "feed.js", "boxes.js", "overlay.js", "api.js", "page.css", "icon.svg"):
        assert browser.get(f"/{name}").status_code == 200


def test_sources_are_changed_by_key_or_by_name(surface: FakeSurface) -> None:
    browser = client(surface)
    (row,) = browser.get("/api/sources").json()
    assert (row["name"], row["key"], row["viewers"]) == ("front door", "front_door", 0)
    assert browser.patch("/api/sources/front_door", json={"paused": True}).json()["paused"] is True
    assert browser.delete("/api/sources/front%20door").status_code == 200
    assert browser.post("/api/sources", json={"url": "rtsp://admin:secret@door/"}).json() == {
        "name": "rtsp://admin:***@door/"
    }
    assert surface.calls[:2] == [("pause", ("front door", True)), ("remove", "front door")]


@pytest.mark.parametrize(
    ("method", "path", "body", "reason"),
    [
        ("PATCH", "/api/settings", b"[]", "an object in JSON, got list"),
        ("PATCH", "/api/settings", b"{", "an object in JSON"),
        ("PATCH", "/api/settings", b"[" * 30_000, "an object in JSON"),
        (
            "PUT",
            "/api/sources/front_door/shapes",
            b'{"lines": {"x": 1, "x": 2}}',
            "the key 'x' must be there once",
        ),
        ("PATCH", "/api/settings", b"{}", "rtsp://admin:***@door/"),
        ("PATCH", "/api/sources/front_door", b'{"paused": 1}', '{"paused": true}'),
    ],
)
def test_what_cannot_be_done_is_one_line(
    surface: FakeSurface, method: str, path: str, body: bytes, reason: str
) -> None:
    answer = client(surface).request(method, path, content=body, headers={"Content-Type": "application/json"})
    assert answer.status_code == 400
    assert reason in answer.json()["error"]
    assert surface.calls == []


@pytest.mark.parametrize(
    ("method", "path"),
    [("PATCH", ""), ("DELETE", ""), ("GET", "/shapes"), ("PUT", "/shapes"), ("POST", "/shapes/saved")],
)
def test_a_source_that_there_is_not_is_not_found_and_the_names_that_there_are_are_named(
    surface: FakeSurface, method: str, path: str
) -> None:
    answer = client(surface).request(method, f"/api/sources/back{path}", json={})
    assert answer.status_code == 404
    assert answer.json() == {"error": "there is no source 'back'; there is front door"}
    assert surface.calls == []


def test_a_form_of_another_page_is_no_request(surface: FakeSurface) -> None:
    answer = client(surface).patch("/api/settings", content=b"{}", headers={"Content-Type": "text/plain"})
    assert "Content-Type: application/json" in answer.json()["error"]


def test_a_body_that_is_too_long_is_not_read(surface: FakeSurface) -> None:
    headers = {"Content-Type": "application/json"}
    answer = client(surface).post("/api/sources", content=b" " * 100_000 + b"{}", headers=headers)
    assert answer.status_code == 413
    assert surface.calls == []


def test_a_snapshot_is_the_newest_picture_with_its_boxes_or_without(surface: FakeSurface) -> None:
    browser = client(surface)
    for query, is_plain in (("", False), ("?boxes=0", True)):
        jpeg = np.frombuffer(browser.get(f"/snapshot/front_door.jpg{query}").content, np.uint8)
        pixels = cv2.imdecode(jpeg, cv2.IMREAD_COLOR)
        assert pixels is not None
        assert pixels.shape == (64, 96, 3)
        assert (np.ptp(pixels) < 10) == is_plain
    assert browser.get("/snapshot/back.jpg").status_code == 404


def test_the_document_of_the_api_has_every_route(surface: FakeSurface) -> None:
    paths = client(surface).get("/api").json()["paths"]
    assert {"/api/sources", "/api/settings", "/api/stats", "/snapshot/{source}.jpg", "/metrics"} <= set(paths)


# Lines and zones.


def test_lines_and_zones_are_read_put_and_saved(surface: FakeSurface) -> None:
    visitor, address = client(surface), "/api/sources/front_door/shapes"
    shapes = {"lines": {"gate": {"points": [[0, 0.5], [1, 0.5]]}}, "zones": {}}
    assert visitor.get(address).json()["file"] == "cameras.yaml"
    answer = visitor.put(address, json=shapes)
    assert (answer.status_code, answer.json()["lines"]) == (200, shapes["lines"])
    assert visitor.get(address).json()["is_saved"] is False
    assert visitor.post(f"{address}/saved", json={}).json() == {"file": "cameras.yaml"}
    assert surface.calls == [("shapes", ("front door", shapes)), ("save", "front door")]


def test_what_a_source_may_not_have_is_one_line(surface: FakeSurface) -> None:
    visitor, address = client(surface), "/api/sources/front_door/shapes"
    answer = visitor.put(address, json={"lines": {"bad": {"points": []}}, "zones": {}})
    assert (answer.status_code, answer.json()) == (400, {"error": "line bad must lie within the picture"})
    for request in (
        visitor.put(address, content=b"[]", headers={"Content-Type": "application/json"}),
        visitor.put(address, content=b"{}", headers={"Content-Type": "text/plain"}),
        visitor.post(f"{address}/saved", json={"file": "/etc/passwd"}),
    ):
        assert request.status_code == 400
        assert list(request.json()) == ["error"]
    assert visitor.put(address, content=b" " * 70_000, headers={"Content-Type": "application/json"}).status_code == 413
    assert [kind for kind, _ in surface.calls] == ["shapes"]


def test_shapes_are_changed_by_nobody_without_the_token_and_by_no_other_site(surface: FakeSurface) -> None:
    address = "/api/sources/front_door/shapes"
    shapes: dict[str, dict[str, object]] = {"lines": {}, "zones": {}}
    assert client(surface, REMOTE).get(address).status_code == 401
    assert client(surface, REMOTE).put(address, json=shapes).status_code == 401
    assert client(surface, REMOTE).post(f"{address}/saved", json={}).status_code == 401
    other = {"Origin": "http://evil.example"}
    assert client(surface).put(address, json=shapes, headers=other).status_code == 403
    assert client(surface).post(f"{address}/saved", json={}, headers=other).status_code == 403
    assert surface.calls == []


# WebSockets.


def messages(socket: Any) -> Iterator[dict[str, Any] | bytes]:
    while True:
        message = socket.receive()
        if message["type"] == "websocket.close":
            return
        if message.get("text"):
            yield json.loads(message["text"])
        else:
            yield from parts_of(message["bytes"])


def parts_of(data: bytes) -> Iterator[dict[str, Any] | bytes]:
    """The messages in a binary one, and its media; of a JPEG, which begins otherwise, all."""
    length = int.from_bytes(data[:4], "big")
    is_jpeg = data[8:10] == b"\xff\xd8"
    yield from [] if is_jpeg or not length else json.loads(data[4 : 4 + length])
    yield data if is_jpeg else data[4 + length :]


def test_packets_come_as_init_segment_and_fragments_beside_their_boxes() -> None:
    source = PacketSource()
    assert isinstance(source, HasPackets)
    clock = StepClock()
    view = LiveView(ViewOptions("door", ("cat",)), packets=source, clock=clock)
    assert source.listener is not None
    coded = list(packets_of(coded_video("mp4")))
    stream = coded[0][0]
    source.listener.begin(CodedStream("h264", bytes(stream.codec_context.extradata or b""), (96, 64)))

    def take(number: int) -> None:
        packet = coded[number][1]
        assert source.listener is not None
        source.listener.take(packet, float((packet.pts or 0) * packet.time_base))

    for number in range(14):
        take(number)
    with client(FakeSurface({"door": view})).websocket_connect("ws://127.0.0.1/ws/view/door") as socket:
        stream_of_messages = messages(socket)
        (init, segment) = _until_binary(stream_of_messages)
        assert init["mode"] == "remux"
        assert init["mime"].startswith('video/mp4; codecs="avc1.64')
        assert (init["w"], init["h"], init["classes"]) == (96, 64, ["cat"])
        assert segment[4:8] == b"ftyp"
        assert next(data for data in stream_of_messages if isinstance(data, bytes)).count(b"moof") == 4  # 10 to 13
        view.write(result(13))
        assert _next_boxes(stream_of_messages)["t"] == "boxes"
        take(14)  # so soon after what was sent, it waits for the boxes
        clock.advance(1)
        view.write(result(14))
        boxes = _next_boxes(stream_of_messages)
        assert boxes["dets"] == [[14.0, 1.0, 23.0, 11.0, 0.5, 0, None]]
        fragment = next(stream_of_messages)  # of the same message
        assert isinstance(fragment, bytes)
        assert fragment.count(b"moof") == 1
        view.close()
        assert any(isinstance(message, dict) and message["t"] == "end" for message in stream_of_messages)
    assert eventually(lambda: view.num_viewers == 0)


class Watching:
    """A view of packets and its viewer, in a loop that runs when it is asked to; between frames time stands still."""

    def __init__(self) -> None:
        source, self._clock = PacketSource(), StepClock()
        self._view = LiveView(ViewOptions("door", ("cat",)), packets=source, clock=self._clock)
        coded = list(packets_of(coded_video("mp4", num_frames=70)))
        self._coded, stream = [packet for _, packet in coded], coded[0][0]
        self._loop = asyncio.new_event_loop()
        self._view.attach(self._loop)
        assert source.listener is not None
        self._listener = source.listener
        self._listener.begin(CodedStream("h264", bytes(stream.codec_context.extradata or b""), (96, 64)))
        self._listener.take(self._coded[0], 0.0)
        self._viewer = self._loop.run_until_complete(self._join())

    async def _join(self) -> Viewer:
        return self._view.join()

    def packet(self, number: int) -> None:
        """The packet of a frame, 40 ms after the one before it."""
        self._clock.advance(0.04)
        self._listener.take(self._coded[number], 0.04 * number)

    def boxes(self, number: int) -> None:
        item = result(number % 100)
        self._view.write(replace(item, frame=replace(item.frame, index=number, pts_seconds=0.04 * number)))

    def sent(self) -> tuple[int, list[int]]:
        """How many pictures have been sent since it was asked last, and the frames whose boxes have."""
        num, frames = 0, []

        async def take() -> None:
            nonlocal num
            with suppress(TimeoutError):
                while True:
                    message = await asyncio.wait_for(self._viewer.next(), 0.005)
                    for part in parts_of(message) if isinstance(message, bytes) else [json.loads(message or "{}")]:
                        if isinstance(part, bytes):
                            num += part.count(b"moof")
                        elif part["t"] == "boxes":
                            frames.append(part["frame"])

        self._loop.run_until_complete(take())
        return num, frames

    def close(self) -> None:
        self._view.close()
        self._loop.close()


def test_pictures_and_boxes_come_together_at_most_every_60_ms_and_each_picture_waits_for_its_own() -> None:
    with closing(Watching()) as watching:
        num, frames = watching.sent()
        for number in range(1, 60):
            watching.packet(number)
            watching.boxes(number)
            more, new = watching.sent()
            assert more in (0, 1, 2) or number == 1
            num, frames = num + more, frames + new
        assert (num, frames) == (60, list(range(1, 60)))
        watching.packet(60)
        watching.packet(61)  # 60 ms and more have gone by, but there are no boxes
        assert watching.sent() == (0, [])
        watching.boxes(60)
        assert watching.sent() == (1, [60])  # 61 waits for its own
        watching.boxes(61)
        assert watching.sent() == (0, [])  # at once would be too soon
        watching.packet(62)
        watching.packet(63)
        watching.boxes(62)
        assert watching.sent() == (2, [61, 62])


def test_pictures_that_get_no_boxes_are_sent_half_a_second_later() -> None:
    with closing(Watching()) as watching:
        for number in range(1, 50):
            watching.packet(number)
            watching.boxes(number)
            watching.sent()
        for number in range(50, 66):  # the detector stands still
            watching.packet(number)
        num, frames = watching.sent()
        assert num >= 12
        assert frames == []


def _next_boxes(stream: Iterator[dict[str, Any] | bytes]) -> dict[str, Any]:
    return next(message for message in stream if isinstance(message, dict) and message["t"] == "boxes")


def _until_binary(stream: Iterator[dict[str, Any] | bytes]) -> tuple[dict[str, Any], bytes]:
    init: dict[str, Any] = {}
    for message in stream:
        if isinstance(message, bytes):
            return init, message
        init = message if message["t"] == "init" else init
    raise AssertionError("the socket was closed")


def write_until(view: LiveView, stop: threading.Event) -> None:
    """Frames at 100 a second."""
    number = 0
    while not stop.wait(0.01):
        view.write(result(number))
        number += 1


@pytest.mark.parametrize("mode", ["", "?mode=jpeg"])
def test_pictures_without_packets_are_encoded_while_they_are_watched(mode: str) -> None:
    view = LiveView(ViewOptions("door", ("cat",)))
    with client(FakeSurface({"door": view})).websocket_connect(f"ws://127.0.0.1/ws/view/door{mode}") as socket:
        stop, stream = threading.Event(), messages(socket)
        writer = threading.Thread(target=write_until, args=(view, stop))
        writer.start()
        try:
            init, data = _until_binary(stream)
        finally:
            stop.set()
            writer.join()
            view.close()
            list(stream)
    assert init["mode"] == ("jpeg" if mode else "encode")
    if mode:
        assert cv2.imdecode(np.frombuffer(data[8:], np.uint8), cv2.IMREAD_COLOR) is not None
    else:
        assert init["reason"] == "the source gives pictures, no H.264"
        assert data[4:8] == b"ftyp"


def test_a_frame_without_detections_has_a_message_too() -> None:
    from pipeline.serve.messages import boxes_message

    message = json.loads(boxes_message(result(1, num_boxes=0), 1.5, now_seconds=2.0))
    assert (message["dets"], message["pts"], message["frame"]) == ([], 1.5, 1)


def test_a_box_of_no_confirmed_track_has_no_track_in_its_message() -> None:
    from pipeline.serve.messages import boxes_message

    item = result(1, num_boxes=2)
    item = replace(item, detections=replace(item.detections, track_ids=np.array([-1, 7], np.int64)))
    message = json.loads(boxes_message(item, 1.5, now_seconds=2.0))
    assert [det[6] for det in message["dets"]] == [None, 7]


def test_a_source_that_does_not_exist_closes_the_socket_and_says_which_do(surface: FakeSurface) -> None:
    with client(surface).websocket_connect("ws://127.0.0.1/ws/view/back") as socket:
        message = socket.receive()
        assert (message["type"], message["code"]) == ("websocket.close", 4404)


def test_a_real_server_answers_and_closes_while_someone_watches(surface: FakeSurface) -> None:
    from websockets.exceptions import ConnectionClosed
    from websockets.sync.client import connect

    with ExitStack() as watching:
        with served(surface) as url:
            socket = watching.enter_context(connect(url.replace("http", "ws") + "ws/view/front_door"))
            assert json.loads(socket.recv(timeout=10))["t"] == "stats"
        with suppress(ConnectionClosed):
            while True:
                socket.recv(timeout=10)


def test_unwatched_nothing_is_sent_to_the_loop() -> None:
    view = LiveView(ViewOptions("door"))
    loop = asyncio.new_event_loop()
    try:
        view.attach(loop)
        view.write(result(1))
        assert not loop._ready  # type: ignore[attr-defined]
    finally:
        loop.close()


def counted(number: int, *events: Event) -> Result:
    """A frame of 96 × 64 with a line, a zone and events."""
    gate = LineCounts("gate", np.array([[10.0, 5.0], [90.0, 5.0]]), {"cat": 2}, {})
    yard = ZoneCounts("yard", np.array([[0, 0], [48.04, 0], [48, 32.0]]), {"cat": 1}, {"cat": 1}, {}, {}, None, None)
    return replace(result(number), events=events, counting=Counts((gate,), (yard,)))


def test_a_message_has_lines_and_zones_in_source_pixels_and_the_events_of_its_frame() -> None:
    from pipeline.serve.messages import boxes_message

    message = json.loads(boxes_message(counted(1, crossing(2.0)), 1.5, now_seconds=2.0))
    assert message["counts"]["lines"] == {"gate": {"points": [[10, 5], [90, 5]], "in": {"cat": 2}, "out": {}}}
    yard = message["counts"]["zones"]["yard"]
    assert (yard["points"], yard["inside"], yard["entered"]) == ([[0, 0], [48, 0], [48, 32]], {"cat": 1}, {})
    (event,) = message["events"]
    assert (event["kind"], event["name"], event["direction"], event["pts"]) == ("crossed", "gate", "in", 2)
    assert event["id"] == crossing(2.0).id


def test_a_message_of_a_run_that_counts_nothing_says_nothing_of_counts() -> None:
    from pipeline.serve.messages import boxes_message

    assert {"counts", "events"} & json.loads(boxes_message(result(1), 1.5, now_seconds=2.0)).keys() == set()


@pytest.mark.parametrize("mode", ["", "?mode=jpeg"])
def test_events_of_frames_that_are_left_out_come_with_the_next_message(mode: str) -> None:
    view = LiveView(ViewOptions("door", is_paced=False))  # read as fast as it can be: at most 30 frames/s are sent
    events = [crossing(0.01 * number) for number in range(6)]
    with client(FakeSurface({"door": view})).websocket_connect(f"ws://127.0.0.1/ws/view/door{mode}") as socket:
        stream = messages(socket)
        assert eventually(lambda: view.num_viewers == 1)
        for number, event in enumerate(events):
            item = counted(number, event)
            view.write(replace(item, frame=replace(item.frame, captured_at_seconds=5 + 0.01 * number)))
        view.write(replace(result(6), frame=replace(result(6).frame, captured_at_seconds=6.0)))
        ids: list[str] = []
        for message in stream:
            if isinstance(message, dict):
                ids += [event["id"] for event in message.get("events", ())]
            if len(ids) == len(events):
                break
        view.close()
        list(stream)
    assert ids == [event.id for event in events]


def test_recent_events_have_the_addresses_of_what_shows_them(surface: FakeSurface, tmp_path: Path) -> None:
    first, second = crossing(1.0), crossing(2.0)
    view = next(iter(surface.views().values()))
    for event in (second, first):
        view.write(counted(1, event))
    clip = tmp_path / "door-crossed.mp4"
    clip.write_bytes(b"0123456789")
    surface.files["clip"].keep([second.id], clip)
    visitor = client(surface)
    rows = visitor.get("/api/events").json()
    assert [row["id"] for row in rows] == [first.id, second.id]
    assert [row.get("clip") for row in rows] == [None, f"/events/{second.id}/clip"]
    answer = visitor.get(rows[1]["clip"], headers={"Range": "bytes=2-4"})
    assert (answer.status_code, answer.content, answer.headers["content-type"]) == (206, b"234", "video/mp4")
    clip.unlink()  # by whoever makes room
    assert visitor.get(rows[1]["clip"]).status_code == 404


@pytest.mark.parametrize("word", ["0123456789abcdef", "..%2f..%2fetc%2fpasswd", "%2e%2e", "a/b", "%00"])
def test_only_the_id_of_an_event_gives_a_file(surface: FakeSurface, tmp_path: Path, word: str) -> None:
    surface.files["clip"].keep([crossing().id], tmp_path)
    for kind in ("clip", "snapshot"):
        assert client(surface).get(f"/events/{word}/{kind}").status_code == 404


def test_events_and_their_files_are_given_to_nobody_without_the_token(surface: FakeSurface) -> None:
    for path in ("/api/events", f"/events/{crossing().id}/clip"):
        assert client(surface, REMOTE).get(path).status_code == 401
