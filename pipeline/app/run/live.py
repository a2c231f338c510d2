"""Live run: a run → what a browser sees of it and may change, and the address at which it is served."""

from __future__ import annotations

import ipaddress
import json
import logging
import os
import secrets
import socket
import threading
from collections.abc import Callable, Mapping, Sequence, Set
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING

from pipeline.app.config.loading import detection_of, source_of
from pipeline.app.extras import load
from pipeline.app.model_branch import ModelBranch
from pipeline.app.run.endpoint import Address, Page
from pipeline.app.run.report import gate_report
from pipeline.app.run.service import Service
from pipeline.app.run.supervisor import Supervisor
from pipeline.errors import ConfigError, reason_of
from pipeline.events import event
from pipeline.flow.ledger import FrameCounts
from pipeline.flow.running import Running
from pipeline.json_values import Json
from pipeline.picture.detections import Result
from pipeline.sinks.events.files import EventFileKind, EventFiles, HasEventFiles

if TYPE_CHECKING:  # the extra may be missing
    from pipeline.serve.trust import Policy
    from pipeline.serve.view import LiveView

logger = logging.getLogger(__name__)

TOKEN_VARIABLE = "STREAMDET_SERVE_TOKEN"
"""Sets the token, which is drawn anew for each run without it."""

_LEAST_TOKEN = 16  # characters
_GATE_KEYS = ("inferred", "carried", "duty", "checked", "missed", "miss_rate", "miss_rate_95", "open", "every")
_SETTINGS = ("score_threshold", "iou_threshold", "classes")


class LiveRun:
    """What is shown of a run, and how it is controlled; every method may be called from any thread.

        live = LiveRun(running, supervisor, service)
        live.change_settings({"score_threshold": 0.5})

    service: whose pages a server has, too.
    """

    def __init__(self, running: Running[Result], supervisor: Supervisor, service: Service) -> None:
        self._running, self._supervisor, self._service = running, supervisor, service
        self._changing = threading.Lock()

    def views(self) -> Mapping[str, LiveView]:
        """The views of all sources that there are or were, by name."""
        from pipeline.serve.view import LiveView

        nodes = self._supervisor.assembly.flow.nodes
        return {node.part.options.name: node.part for node in nodes if isinstance(node.part, LiveView)}

    def pages(self) -> Mapping[str, Callable[[], Page]]:
        """`/metrics` and `/healthz`."""
        return self._service.pages()

    def sources(self) -> list[dict[str, Json]]:
        """The sources with their states and counts, and how their pictures come to viewers."""
        return [status.as_json() for status in self._supervisor.sources()]

    def stats(self) -> dict[str, Json]:
        """The numbers of the run: all sources together, each node of the flow, the engine."""
        statistics = self._running.statistics()
        return {
            "seconds": round(statistics.elapsed_seconds, 3),
            **_numbers(statistics.frames),
            "sources": {_text(name): _numbers(counts) for name, counts in statistics.frames_by_source.items()},
            "nodes": [
                {
                    "name": _text(node.name),
                    "role": node.role,
                    "busy": round(node.busy, 4),
                    "rate": node.recent_rate,
                    "waiting": node.waiting,
                    "dropped": node.dropped,
                }
                for node in statistics.nodes
            ],
            **_engines(self._supervisor.assembly.branches),
        }

    def stats_of(self, name: str) -> dict[str, Json]:
        """The numbers of one source, and the rate, queue and device of the network, which all share."""
        statistics = self._running.statistics()
        branches = [branch for branch in self._supervisor.assembly.branches if name in branch.source_ids]
        counts, names = statistics.frames_by_source.get(name), {branch.detect_node for branch in branches}
        detect = next((node for node in statistics.nodes if node.name in names), None)
        status = next((row for row in self._supervisor.sources() if row.name == name), None)
        return {
            **({} if counts is None else _numbers(counts)),
            **self._gate_of(name, statistics.elapsed_seconds),
            "fps_inferred": None if detect is None else detect.recent_rate,
            "queue": None if detect is None else detect.waiting,
            "queue_capacity": self._room_before(names, [name for branch in branches for name in branch.source_ids]),
            "state": None if status is None else status.state.name,
            "reason": None if status is None else status.state.reason,
            "paused": status is not None and status.is_paused,
            **_engines(branches),
        }

    def _gate_of(self, name: str, seconds: float) -> dict[str, Json]:
        """What the gate of a source let through and missed; nothing of one without."""
        gate = self._supervisor.assembly.gates().get(name)
        if gate is None:
            return {}
        report = gate_report(gate, seconds)
        return {"gate": {key: value for key, value in report.items() if key in _GATE_KEYS}}  # type: ignore[misc]

    def _room_before(self, node_names: Set[str], source_ids: Sequence[str]) -> int | None:
        """How many items the queues before these nodes can hold: a lane for each source that has not ended."""
        edges = [node.edge for node in self._running.flow.nodes if node.name in node_names]
        over = {row.name for row in self._supervisor.sources() if row.state.name in ("ended", "failed")}
        feeds = [
            feed
            for feed in self._supervisor.assembly.feeds
            if feed.source_id in source_ids and feed.source_id not in over
        ]
        return sum(edge.lane(is_live=feed.is_live).capacity for edge in edges for feed in feeds) if edges else None

    def event_files(self, kind: EventFileKind) -> Sequence[EventFiles]:
        """The clips or snapshots that the run's sinks have written."""
        nodes = self._supervisor.assembly.flow.nodes
        sinks = [getattr(node.part, "sink", node.part) for node in nodes]  # that of a folder is behind its lock
        return [sink.event_files for sink in sinks if isinstance(sink, HasEventFiles) and sink.event_file_kind == kind]

    def settings(self) -> dict[str, Json]:
        """Which detections are kept now; thresholds of None are the model's own."""
        branches = self._supervisor.assembly.branches
        suppression = branches[0].suppression
        names = dict.fromkeys(name for branch in branches for name in branch.engine.spec.class_names)
        return {
            "score_threshold": suppression.of_run.score_threshold,
            "iou_threshold": suppression.of_run.iou_threshold,
            "classes": list(dict.fromkeys(name for branch in branches for name in branch.suppression.class_names())),
            "class_names": list(names),
        }

    def change_settings(self, values: Mapping[str, Json]) -> dict[str, Json]:
        """Keep other detections from the next frame on: score_threshold, iou_threshold, classes. Returns all.

        Raises ConfigError for other names, types and values than there may be, and classes that no model knows.
        """
        unknown = set(values) - set(_SETTINGS)
        if unknown or not values:
            raise ConfigError(
                f"settings must be some of {', '.join(_SETTINGS)}, got {', '.join(sorted(unknown)) or 'none'}"
            )
        _refuse_other_types(values)
        with self._changing:
            assembly = self._supervisor.assembly
            values = assembly.branches[0].suppression.requested.model_dump() | dict(values)
            assembly.change_detection(detection_of(values, "the request"))
        return self.settings()

    def shapes(self, name: str) -> dict[str, Json]:
        """The lines and zones of a source. Raises FlowError for one that the run does not have."""
        return self._supervisor.shapes.of(name)

    def change_shapes(self, name: str, values: Mapping[str, Json]) -> dict[str, Json]:
        """Count at others from the next frame on; returns them. Raises ConfigError as a configuration with them."""
        return self._supervisor.shapes.change(name, values)

    def save_shapes(self, name: str) -> str:
        """Write them to the file of the run's configuration; returns its name. Raises ConfigError where it cannot."""
        return self._supervisor.shapes.save(name).name

    def add(self, values: Mapping[str, Json]) -> str:
        """Start a source: url, and if need be name, weight, classes, score_threshold. Returns its name."""
        return self._supervisor.add(source_of(values, "the request"))

    def pause(self, name: str, *, is_paused: bool = True) -> None:
        """Let a source wait, or go on. Raises FlowError for one that the run does not have."""
        self._supervisor.pause(name, is_paused=is_paused)

    def remove(self, name: str) -> None:
        """Ask a source to end. Raises FlowError for one that the run does not have."""
        self._supervisor.remove(name)


def _refuse_other_types(values: Mapping[str, Json]) -> None:
    """Raise ConfigError for what a configuration would convert, as YAML has no types of its own and JSON has."""
    for key, value in values.items():
        parts = value if isinstance(value, list) else [value]
        types = (str, int) if key == "classes" else (int, float, type(None))
        if isinstance(value, list) != (key == "classes") or any(
            isinstance(part, bool) or not isinstance(part, types) for part in parts
        ):
            must = "a list of names and ids" if key == "classes" else "a number, or null for the model's own"
            raise ConfigError(f"the request: {key} must be {must}, got {json.dumps(value)[:200]}")


def _engines(branches: Sequence[ModelBranch]) -> dict[str, Json]:
    return {
        "device": ", ".join(dict.fromkeys(branch.engine.device for branch in branches)),
        "precision": ", ".join(dict.fromkeys(branch.engine.precision for branch in branches)),
        "model": ", ".join(branch.name for branch in branches),
    }


class Live:
    """An address at which a run will be served; it is taken at once, before sources and model are opened."""

    def __init__(self, listening: socket.socket, address: Address, policy: Policy, *, is_token_typed: bool) -> None:
        self._socket, self._policy = listening, policy
        self.address = address
        token = "" if policy.token is None or is_token_typed else f"?open={policy.token}"
        self.url = f"http://{Address(_reachable(address.host), address.port)}/{token}"

    @classmethod
    def listening(cls, word: str, *, environment: Mapping[str, str] = os.environ) -> Live:
        """Listen at [HOST:]PORT. Raises ConfigError where nobody can, MissingExtraError without the extra serve."""
        address = Address.parse(word, "--serve")
        load("pipeline.serve.server", extra="serve")
        from pipeline.serve.trust import Policy

        typed = environment.get(TOKEN_VARIABLE)
        if typed is not None and len(typed) < _LEAST_TOKEN:
            raise ConfigError(f"{TOKEN_VARIABLE} must have at least {_LEAST_TOKEN} characters, got {len(typed)}")
        try:
            family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
            listening = socket.create_server((address.host, address.port), family=family)
        except (OSError, UnicodeError) as error:  # UnicodeError: no name of a host
            raise ConfigError(f"--serve: nobody can listen on {address}: {reason_of(error)}") from error
        address = Address(address.host, listening.getsockname()[1])
        is_local = ipaddress.ip_address(listening.getsockname()[0]).is_loopback
        token = typed or (None if is_local else secrets.token_urlsafe(_LEAST_TOKEN))
        names = frozenset(("localhost", socket.gethostname().lower(), address.host.lower()))
        return cls(listening, address, Policy(token, names, address.port), is_token_typed=typed is not None)

    def log_address(self) -> None:
        """Say in the log where the run is shown."""
        logger.info("serves %s", self.url, extra=event("serving", url=self.url))

    def serving(self, run: LiveRun) -> AbstractContextManager[object]:
        """What serves a run while it is a context manager."""
        from pipeline.serve.server import LiveServer

        return LiveServer(self._socket, run, self._policy)

    def __enter__(self) -> Live:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()


def _numbers(counts: FrameCounts) -> dict[str, Json]:
    latency = counts.latency
    return {
        "fps_captured": counts.recent_captured_rate,
        "fps_delivered": counts.recent_delivered_rate,
        "age_p50_ms": _milliseconds(latency.p50),
        "age_p95_ms": _milliseconds(latency.p95),
        "captured": counts.captured,
        "delivered": counts.delivered,
        "dropped_stale": counts.dropped_stale,
        "dropped_full": counts.dropped_full,
        "filtered": counts.filtered,
        "failed": counts.failed,
        "in_flight": counts.in_flight,
    }


def _milliseconds(seconds: float | None) -> float | None:
    return None if seconds is None else round(1000 * seconds, 1)


def _text(name: str) -> str:
    """A name that JSON can hold: that of a file need not be valid UTF-8."""
    return name.encode("utf-8", "backslashreplace").decode()


def _reachable(host: str) -> str:
    """A host that can be typed elsewhere, where a server listens on all of this machine's addresses."""
    if host not in ("0.0.0.0", "::", ""):
        return host
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))  # sends nothing: it only asks the system for a way
            return str(probe.getsockname()[0])
        except OSError:
            return socket.gethostname()
