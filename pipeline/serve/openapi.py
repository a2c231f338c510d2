"""OpenAPI: what the API takes and answers → the document at `/api`."""

from __future__ import annotations

from typing import Any

from pipeline.version import __version__

_SETTINGS: dict[str, Any] = {
    "type": "object",
    "properties": {
        "score_threshold": {"type": ["number", "null"], "minimum": 0, "maximum": 1},
        "iou_threshold": {"type": ["number", "null"], "minimum": 0, "maximum": 1},
        "classes": {
            "type": "array",
            "items": {"type": ["string", "integer"]},
            "description": "Names or ids; empty: all.",
        },
    },
}
_SHAPE: dict[str, Any] = {
    "type": "object",
    "required": ["points"],
    "properties": {
        "points": {
            "type": "array",
            "items": {"type": "array", "items": {"type": "number", "minimum": 0}, "minItems": 2, "maxItems": 2},
            "description": "[x, y] each; shares of the picture where none is above 1, else pixels.",
        },
        "anchor": {"enum": ["bottom", "centre"]},
        "classes": {"type": "array", "items": {"type": "string"}, "description": "Names; empty: all."},
        "dwell_s": {"type": "number", "exclusiveMinimum": 0, "description": "Of a zone."},
    },
}
_SHAPES: dict[str, Any] = {
    "type": "object",
    "required": ["lines", "zones"],
    "properties": {kind: {"type": "object", "additionalProperties": _SHAPE} for kind in ("lines", "zones")},
}
_ERROR = {"description": "One line that says why.", "content": {"application/json": {"schema": {"type": "object"}}}}
_EVENT_PARAMETER = {"name": "id", "in": "path", "required": True, "schema": {"type": "string"}}
_SOURCE_PARAMETER = {"name": "source", "in": "path", "required": True, "schema": {"type": "string"}}


def _operation(
    summary: str,
    *,
    body: dict[str, Any] | None = None,
    of_source: bool = False,
    of_event: bool = False,
    answer: str = "application/json",
) -> dict[str, Any]:
    operation: dict[str, Any] = {
        "summary": summary,
        "responses": {"200": {"description": "Done.", "content": {answer: {}}}, "400": _ERROR},
    }
    if body is not None:
        operation["requestBody"] = {"required": True, "content": {"application/json": {"schema": body}}}
    if of_source:
        operation["parameters"] = [_SOURCE_PARAMETER]
        operation["responses"]["404"] = {**_ERROR, "description": "The run has no such source."}
    if of_event:
        operation["parameters"] = [_EVENT_PARAMETER]
    return operation


DOCUMENT: dict[str, Any] = {
    "openapi": "3.1.0",
    "info": {"title": "streamdet", "version": __version__, "description": "A run: its sources, numbers and settings."},
    "components": {"securitySchemes": {"token": {"type": "http", "scheme": "bearer"}}},
    "security": [{}, {"token": []}],
    "paths": {
        "/api/sources": {
            "get": _operation("The sources, with their keys in addresses, states and counts."),
            "post": _operation(
                "Add a source.",
                body={
                    "type": "object",
                    "required": ["url"],
                    "properties": {"url": {"type": "string"}, "name": {"type": "string"}},
                },
            ),
        },
        "/api/sources/{source}": {
            "patch": _operation(
                "Pause a source, or let it go on.",
                body={"type": "object", "properties": {"paused": {"type": "boolean"}}, "required": ["paused"]},
                of_source=True,
            ),
            "delete": _operation("Remove a source; what it has captured still goes through.", of_source=True),
        },
        "/api/sources/{source}/shapes": {
            "get": _operation("The lines and zones of a source, and whether they can be changed.", of_source=True),
            "put": _operation(
                "Count at others from the next frame on; all that there are to be.", body=_SHAPES, of_source=True
            ),
        },
        "/api/sources/{source}/shapes/saved": {
            "post": _operation(
                "Write them to the configuration file of the run.", body={"type": "object"}, of_source=True
            ),
        },
        "/api/stats": {"get": _operation("The numbers of the run.")},
        "/api/events": {
            "get": _operation("The last 100 events at lines and in zones, the earliest first, with their clips."),
        },
        "/events/{id}/clip": {"get": _operation("The video of an event.", of_event=True, answer="video/mp4")},
        "/events/{id}/snapshot": {"get": _operation("The frame of an event.", of_event=True, answer="image/jpeg")},
        "/api/settings": {
            "get": _operation("Which detections are kept."),
            "patch": _operation("Keep others from the next frame on.", body=_SETTINGS),
        },
        "/snapshot/{source}.jpg": {
            "get": _operation("The newest picture, with boxes unless ?boxes=0.", of_source=True, answer="image/jpeg")
        },
        "/mjpeg/{source}": {
            "get": _operation(
                "Pictures with boxes, one after another.", of_source=True, answer="multipart/x-mixed-replace"
            )
        },
        "/metrics": {"get": _operation("Metrics for Prometheus.", answer="text/plain")},
        "/healthz": {"get": _operation("Whether frames flow; 503 where they do not.", answer="text/plain")},
    },
}
