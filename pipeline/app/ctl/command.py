"""Command `ctl`: what was typed → a request to a run, and its answer on standard output."""

from __future__ import annotations

import json
import socket
from collections.abc import Mapping
from pathlib import Path

from rich.table import Table
from rich.text import Text

from pipeline.app.ctl.options import CtlOptions
from pipeline.app.terminal import tell, wide_console
from pipeline.errors import ConfigError, reason_of
from pipeline.json_values import Json

_MOST_BYTES = 1 << 24  # of an answer


def run_ctl(options: CtlOptions) -> int:
    """Ask, print the answer; returns 0. Raises ConfigError for what the run refuses."""
    answer = ask(options.socket, _request(options))
    console = wide_console()
    if isinstance(answer, list):
        console.print(_table(answer))
    else:
        tell(console, f"{options.action}  {answer}")
    return 0


def ask(path: Path, request: Mapping[str, Json], *, timeout_seconds: float = 60.0) -> Json:
    """What the run that listens at a socket answers. Raises ConfigError for its error, and where none listens."""
    try:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(timeout_seconds)
            connection.connect(str(path))
            connection.sendall(json.dumps(request).encode() + b"\n")
            with connection.makefile("rb") as file:
                line = file.readline(_MOST_BYTES)
    except OSError as error:
        raise ConfigError(f"no run answers at {path}: {reason_of(error)}; start it with --control {path}") from error
    if not line:
        raise ConfigError(f"the run at {path} ended before it answered")
    return reply_of(line, path)


def reply_of(line: bytes, path: Path) -> Json:
    """What an answer says. Raises ConfigError for its error, and for a line that no run writes."""
    try:
        reply = json.loads(line)
    except (ValueError, RecursionError):
        reply = None
    if not isinstance(reply, dict) or ("ok" not in reply and not isinstance(reply.get("error"), str)):
        raise ConfigError(f"{path} must be the socket of a run's --control, it answered {line[:60]!r}")
    if "ok" not in reply:
        raise ConfigError(" ".join(reply["error"].split()))
    done: Json = reply["ok"]
    return done


def _request(options: CtlOptions) -> dict[str, Json]:
    own: dict[str, Json] = {
        "name": options.name,
        "weight": options.weight,
        "classes": list(options.classes) or None,
        "score_threshold": options.score_threshold,
        "model": None if options.model is None else _absolute(options.model),
    }
    own = {key: value for key, value in own.items() if value is not None}
    if own and options.action != "add":
        raise ConfigError(f"--{next(iter(own)).replace('_', '-')} is for `add`; leave it out for `{options.action}`")
    if options.action == "list":
        if options.source is not None:
            raise ConfigError(f"list takes no source, got {options.source}")
        return {"command": "list"}
    if options.source is None:
        raise ConfigError(f"{options.action} must name a source: streamdet ctl SOCKET {options.action} SOURCE")
    if options.action == "add":
        return {"command": "add", "source": {"url": _absolute(options.source), **own}}
    return {"command": options.action, "name": options.source}


def _absolute(word: str) -> str:
    """A source or a model; a file that is here by its whole path, because the run may have another working folder."""
    try:
        return str(Path(word).absolute()) if Path(word).exists() else word
    except (OSError, ValueError):
        return word


def _table(sources: list[Json]) -> Table:
    table = Table("name", "state", "captured", "delivered", "dropped", "model", "reason", box=None, pad_edge=False)
    for source in sources:
        assert isinstance(source, dict)
        state = "paused" if source["paused"] else str(source["state"])
        numbers = [str(source[key]) for key in ("captured", "delivered", "dropped")]
        words = [Text(str(source[key])) for key in ("model", "reason")]
        table.add_row(Text(str(source["name"])), state, *numbers, *words)
    return table
