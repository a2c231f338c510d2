"""Site: a surface → the application that answers for it: page, API, pictures and WebSockets; docs/live-protocol.md."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from functools import partial
from pathlib import Path
from typing import get_args

from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import FileResponse, JSONResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import BaseRoute, Mount, Route, WebSocketRoute
from starlette.staticfiles import StaticFiles
from starlette.websockets import WebSocket, WebSocketDisconnect

from pipeline.errors import FlowError, StreamdetError, UnknownSourceError
from pipeline.json_values import Json, JsonKeyError, parse_json
from pipeline.masking import masked_text
from pipeline.picture.counting.as_json import event_as_json
from pipeline.picture.detections import Result
from pipeline.serve.encode import jpeg_of
from pipeline.serve.openapi import DOCUMENT
from pipeline.serve.shared_statistics import SharedStatistics
from pipeline.serve.surface import Page, Surface
from pipeline.serve.trust import Guard, Policy
from pipeline.serve.view import LiveView
from pipeline.serve.viewer import Viewer
from pipeline.sinks.events.files import EventFileKind, path_of_event
from pipeline.sinks.picture_names import source_stems

PAGE = Path(__file__).with_name("page")
MOST_VIEWERS = 100
_MOST_MESSAGES = 100  # that a viewer may send; the page sends none
_MOST_EVENTS = 100  # in an answer
_MJPEG_SECONDS = 0.04  # between two pictures, at least


def site(surface: Surface, policy: Policy) -> Guard:
    """The application, behind its guard."""
    return Guard(Site(surface).app, policy)


class Site:
    """The routes of a surface. Calls of the surface are made in threads, because some of them wait."""

    def __init__(self, surface: Surface) -> None:
        self._surface = surface
        self._num_viewers = 0
        self._statistics: dict[str, SharedStatistics] = {}  # by source
        routes: list[BaseRoute] = [
            Route("/api", lambda _: JSONResponse(DOCUMENT)),
            Route("/api/sources", _answers(self._sources), methods=["GET"]),
            Route("/api/sources", _answers(self._add), methods=["POST"]),
            Route("/api/sources/{source:path}/shapes", _answers(self._shapes), methods=["GET"]),
            Route("/api/sources/{source:path}/shapes", _answers(self._change_shapes), methods=["PUT"]),
            Route("/api/sources/{source:path}/shapes/saved", _answers(self._save_shapes), methods=["POST"]),
            Route("/api/sources/{source:path}", _answers(self._pause), methods=["PATCH"]),
            Route("/api/sources/{source:path}", _answers(self._remove), methods=["DELETE"]),
            Route("/api/stats", _answers(self._stats), methods=["GET"]),
            Route("/api/events", _answers(self._events), methods=["GET"]),
            Route("/api/settings", _answers(self._settings), methods=["GET"]),
            Route("/api/settings", _answers(self._change_settings), methods=["PATCH"]),
            Route("/snapshot/{source:path}.jpg", self._snapshot),
            Route("/mjpeg/{source:path}", self._mjpeg),
            *(Route(f"/events/{{id}}/{kind}", self._file_of(kind)) for kind in get_args(EventFileKind)),
            WebSocketRoute("/ws/view/{source:path}", self._view),
            *(Route(path, _page(page)) for path, page in surface.pages().items()),
            Mount("/", StaticFiles(directory=PAGE, html=True)),
        ]
        self.app = Starlette(routes=routes)

    async def _sources(self, _: Request) -> Json:
        sources = await asyncio.to_thread(self._surface.sources)
        keys, views = {name: key for key, name in self._keys().items()}, self._surface.views()
        rows: list[Json] = []
        for source in sources:
            name = str(source["name"])
            if name in keys:
                num = views[name].num_viewers
                rows.append({**source, "name": _shown(name), "key": keys[name], "viewers": num})
        return rows

    async def _add(self, request: Request) -> Json:
        values = await _values(request)
        name = await asyncio.to_thread(self._surface.add, values)
        return {"name": _shown(name)}

    async def _pause(self, request: Request) -> Json:
        name, values = self._name(request.path_params["source"]), await _values(request)
        is_paused = values.get("paused")
        if set(values) != {"paused"} or not isinstance(is_paused, bool):
            raise FlowError('a change of a source must be {"paused": true} or {"paused": false}')
        await asyncio.to_thread(self._surface.pause, name, is_paused=is_paused)
        return {"name": _shown(name), "paused": is_paused}

    async def _shapes(self, request: Request) -> Json:
        return await asyncio.to_thread(self._surface.shapes, self._name(request.path_params["source"]))

    async def _change_shapes(self, request: Request) -> Json:
        name, values = self._name(request.path_params["source"]), await _values(request)
        return await asyncio.to_thread(self._surface.change_shapes, name, values)

    async def _save_shapes(self, request: Request) -> Json:
        name, values = self._name(request.path_params["source"]), await _values(request)
        if values:
            raise FlowError("to save is to POST {}, because what is saved is what is in effect")
        return {"file": await asyncio.to_thread(self._surface.save_shapes, name)}

    async def _remove(self, request: Request) -> Json:
        name = self._name(request.path_params["source"])
        await asyncio.to_thread(self._surface.remove, name)
        return {"name": _shown(name)}

    async def _stats(self, _: Request) -> Json:
        return await asyncio.to_thread(self._surface.stats)

    async def _events(self, _: Request) -> Json:
        """The events that came last, of all sources, the earliest first, with the addresses of what shows them."""
        return await asyncio.to_thread(self._recent_events)

    def _recent_events(self) -> list[Json]:
        files = {kind: self._surface.event_files(kind) for kind in get_args(EventFileKind)}
        rows: list[dict[str, Json]] = []
        for name, view in self._surface.views().items():
            for event in view.recent_events:
                shown = {kind: f"/events/{event.id}/{kind}" for kind in files if path_of_event(event.id, files[kind])}
                rows.append({**event_as_json(event), "source": _shown(name), **shown})
        rows.sort(key=lambda row: (str(row.get("time", "")), row["pts"]))
        return [*rows[-_MOST_EVENTS:]]

    def _file_of(self, kind: EventFileKind) -> Callable[[Request], Awaitable[Response]]:
        """An endpoint that gives the file of an event. Only ids get there, never a path."""

        async def endpoint(request: Request) -> Response:
            path = path_of_event(request.path_params["id"], self._surface.event_files(kind))
            if path is None or not path.is_file():
                return PlainTextResponse(f"there is no {kind} of that event\n", 404)
            return FileResponse(path, filename=path.name, content_disposition_type="inline")

        return endpoint

    async def _settings(self, _: Request) -> Json:
        return await asyncio.to_thread(self._surface.settings)

    async def _change_settings(self, request: Request) -> Json:
        values = await _values(request)
        return await asyncio.to_thread(self._surface.change_settings, values)

    async def _snapshot(self, request: Request) -> Response:
        try:
            result = self._view_of(request.path_params["source"]).newest
        except FlowError as error:
            return PlainTextResponse(f"{error}\n", 404)
        if result is None:
            return PlainTextResponse("the source has not given a picture yet\n", 503, headers={"Retry-After": "1"})
        is_drawn = request.query_params.get("boxes", "1") != "0"
        return Response(await asyncio.to_thread(jpeg_of, result, is_drawn=is_drawn), media_type="image/jpeg")

    async def _mjpeg(self, request: Request) -> Response:
        try:
            view = self._view_of(request.path_params["source"])
        except FlowError as error:
            return PlainTextResponse(f"{error}\n", 404)
        if self._num_viewers >= MOST_VIEWERS:
            return PlainTextResponse(f"at most {MOST_VIEWERS} may watch at once\n", 503)
        return StreamingResponse(self._jpegs(view), media_type="multipart/x-mixed-replace; boundary=frame")

    async def _jpegs(self, view: LiveView) -> AsyncIterator[bytes]:
        """The newest picture with its boxes, again and again; a client that is slow gets fewer."""
        self._num_viewers += 1
        last: Result | None = None
        try:
            while not view.is_over:
                result = view.newest
                if result is not None and result is not last:
                    last = result
                    data = await asyncio.to_thread(jpeg_of, result, is_drawn=True)
                    head = f"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: {len(data)}\r\n\r\n"
                    yield head.encode() + data + b"\r\n"
                await asyncio.sleep(_MJPEG_SECONDS)
        finally:
            self._num_viewers -= 1

    async def _view(self, socket: WebSocket) -> None:
        try:
            name = self._name(socket.path_params["source"])
        except FlowError as error:
            await socket.accept()
            await socket.close(4404, str(error)[:100])
            return
        await socket.accept()
        if self._num_viewers >= MOST_VIEWERS:
            await socket.close(1013, f"at most {MOST_VIEWERS} may watch at once")
            return
        view, mode = self._surface.views()[name], socket.query_params.get("mode")
        view.attach(asyncio.get_running_loop())
        viewer = view.join(as_jpeg=mode == "jpeg", as_encode=mode == "encode")
        self._num_viewers += 1
        tasks = [
            asyncio.create_task(work)
            for work in (_send(socket, viewer), _hear(socket), self._tell_stats(name, viewer))
        ]  # fmt: skip
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            self._num_viewers -= 1
            view.leave(viewer)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _tell_stats(self, name: str, viewer: Viewer) -> None:
        while True:
            statistics = self._statistics.setdefault(name, SharedStatistics(partial(self._surface.stats_of, name)))
            viewer.put_text(await statistics.message(viewer.num_dropped))
            await asyncio.sleep(1.0)

    def _keys(self) -> dict[str, str]:
        """The names of the sources by what stands for them in addresses."""
        names = list(self._surface.views())
        return {stem: name for name, stem in source_stems(names).items()}

    def _name(self, word: str) -> str:
        """The source that a part of an address means: by key, or by name. Raises UnknownSourceError for any other."""
        keys = self._keys()
        if word not in keys and word not in keys.values():
            names = ", ".join(map(_shown, keys.values())) or "none yet"
            raise UnknownSourceError(f"there is no source {word[:100]!r}; there is {names}")
        return keys.get(word, word)

    def _view_of(self, word: str) -> LiveView:
        return self._surface.views()[self._name(word)]


async def _send(socket: WebSocket, viewer: Viewer) -> None:
    """Send until it is over; a browser that takes nothing lets this wait, and its queue is cut."""
    while (message := await viewer.next()) is not None:
        if isinstance(message, str):
            await socket.send_text(message)
        else:
            await socket.send_bytes(message)
    await socket.close(1000)


async def _hear(socket: WebSocket) -> None:
    """Wait until a viewer goes, or says more than it has to."""
    try:
        for _ in range(_MOST_MESSAGES):
            await socket.receive_text()
        await socket.close(1008, "a viewer has nothing to say")
    except (WebSocketDisconnect, KeyError):
        return


def _answers(work: Callable[[Request], Awaitable[Json]]) -> Callable[[Request], Awaitable[Response]]:
    """An endpoint that answers in JSON; what cannot be done is one line with status 400, 404 for an unknown source."""

    async def endpoint(request: Request) -> Response:
        try:
            return JSONResponse(await work(request))
        except UnknownSourceError as error:
            return JSONResponse({"error": masked_text(str(error))}, 404)
        except StreamdetError as error:
            return JSONResponse({"error": masked_text(str(error))}, 400)
        except ClientDisconnect:
            return JSONResponse({"error": "the request is too long"}, 413)

    return endpoint


async def _values(request: Request) -> Mapping[str, Json]:
    """The object in a request's body. Raises FlowError for anything else."""
    if request.headers.get("content-type", "").partition(";")[0] != "application/json":
        raise FlowError("a request must have Content-Type: application/json")
    try:
        values = parse_json(await request.body())
    except JsonKeyError as error:
        raise FlowError(f"a request cannot be read: {error}") from error
    except ValueError as error:
        raise FlowError("a request must be an object in JSON") from error
    if not isinstance(values, dict):
        raise FlowError(f"a request must be an object in JSON, got {type(values).__name__}")
    return values


def _page(page: Page) -> Callable[[Request], Awaitable[Response]]:
    async def endpoint(_: Request) -> Response:
        status, content_type, body = await asyncio.to_thread(page)
        return Response(body, status, media_type=content_type)

    return endpoint


def _shown(name: str) -> str:
    """A name that JSON and browsers can take, which need not be the case with those of files."""
    return masked_text(name.encode("utf-8", "backslashreplace").decode())
