"""Fleet page: what a fleet does now → one page of HTML with all workers and cameras, and the same as JSON."""

from __future__ import annotations

import html
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from pipeline.json_values import Json


@dataclass(frozen=True, slots=True)
class CameraRow:
    """A camera, as it is now. fps: delivered, over the last seconds; None: not known."""

    name: str
    state: str
    reason: str
    worker: str
    generation: int
    fps: float | None
    num_captured: int
    num_delivered: int
    num_dropped: int
    cost: float | None  # cores


@dataclass(frozen=True, slots=True)
class WorkerRow:
    """A worker, as it is now. silent_seconds: since its last report; None: there was none."""

    name: str
    node: str
    num_cameras: int
    cores_used: float
    silent_seconds: float | None
    models: str


@dataclass(frozen=True, slots=True)
class FleetView:
    """All of a fleet at one moment."""

    cameras: Sequence[CameraRow]
    workers: Sequence[WorkerRow]
    num_results: int
    num_refused: int
    num_moves: int
    num_lost_workers: int
    trouble: str  # why results are not kept; "": they are

    @property
    def num_running(self) -> int:
        """Cameras that give pictures."""
        return sum(row.state in ("live", "reading") for row in self.cameras)

    def as_json(self) -> dict[str, Json]:
        """As `/fleet.json` gives it."""
        return {
            "cameras": [{name: getattr(row, name) for name in CameraRow.__slots__} for row in self.cameras],
            "workers": [{name: getattr(row, name) for name in WorkerRow.__slots__} for row in self.workers],
            "results": self.num_results,
            "refused": self.num_refused,
            "moves": self.num_moves,
            "lost_workers": self.num_lost_workers,
            "trouble": self.trouble,
        }


def json_page(view: FleetView) -> bytes:
    """The body of `/fleet.json`."""
    return json.dumps(view.as_json(), allow_nan=False).encode()


def html_page(view: FleetView) -> bytes:
    """The body of `/`, which a browser asks for anew every two seconds."""
    cameras = _table(
        ("camera", "state", "worker", "fps >", "frames >", "dropped >", "cores >", "generation >"),
        map(_cells, view.cameras),
    )
    workers = _table(
        ("worker", "node", "cameras >", "cores used >", "last report >", "models"), map(_of_worker, view.workers)
    )
    trouble = f'<p class="trouble">{html.escape(view.trouble)}</p>' if view.trouble else ""
    counts = (
        f"<b>{view.num_running}</b> of {len(view.cameras)} cameras give pictures · {len(view.workers)} workers · "
        f"{view.num_results} results kept · {view.num_moves} moves · {view.num_lost_workers} workers lost · "
        f"{view.num_refused} late results refused"
    )
    body = f"<h1>streamdet fleet</h1><p>{counts}</p>{trouble}<h2>Workers</h2>{workers}<h2>Cameras</h2>{cameras}"
    return (_HEAD + body + "</body></html>\n").encode("utf-8", "backslashreplace")


def _table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A head that ends with > is that of numbers, which stand on the right."""
    head = "".join(
        f'<th class="number">{head.removesuffix(" >")}</th>' if head.endswith(" >") else f"<th>{head}</th>"
        for head in heads
    )
    body = "".join(f"<tr>{''.join(cells)}</tr>" for cells in rows)
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def _cells(row: CameraRow) -> list[str]:
    title = f' title="{html.escape(row.reason)}"' if row.reason else ""
    state = f'<td{title}><span class="state {html.escape(row.state)}">{html.escape(row.state)}</span></td>'
    return [
        _text(row.name),
        state,
        _text(row.worker or "–"),
        _number("–" if row.fps is None else f"{row.fps:.1f}"),
        _number(str(row.num_delivered)),
        _number(str(row.num_dropped)),
        _number("–" if row.cost is None else f"{row.cost:.2f}"),
        _number(str(row.generation)),
    ]


def _of_worker(row: WorkerRow) -> list[str]:
    silent = "–" if row.silent_seconds is None else f"{row.silent_seconds:.1f} s ago"
    numbers = (str(row.num_cameras), f"{row.cores_used:.2f}", silent)
    return [_text(row.name), _text(row.node), *map(_number, numbers), _text(row.models)]


def _text(text: str) -> str:
    return f"<td>{html.escape(text)}</td>"


def _number(text: str) -> str:
    return f'<td class="number">{html.escape(text)}</td>'


_HEAD = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta http-equiv="refresh" content="2">
<meta name="viewport" content="width=device-width, initial-scale=1"><title>streamdet fleet</title><style>
:root { color-scheme: light dark; --line: #8884; --quiet: #777; }
body { font: 14px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 70rem; padding: 0 1rem; }
h1 { font-size: 1.3rem; margin: 0; } h2 { font-size: 1rem; margin: 1.5rem 0 .3rem; }
table { border-collapse: collapse; width: 100%; display: block; overflow-x: auto; }
thead, tbody { font-variant-numeric: tabular-nums; }
th { text-align: left; color: var(--quiet); font-weight: 500; }
th, td { padding: .3rem 1.2rem .3rem 0; border-bottom: 1px solid var(--line); white-space: nowrap; }
td.number, th.number { text-align: right; }
.state { border-radius: 1rem; padding: .05rem .6rem; background: #8883; }
.live, .reading { background: #2a96; } .failed, .lost { background: #d336; }
.stalled, .connecting { background: #da26; }
.trouble { background: #d336; padding: .5rem .8rem; border-radius: .4rem; }
</style></head><body>"""
