"""Run from Python: sources that come and go while it goes on → results of all of them, as they come."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from os import PathLike, fspath
from pathlib import Path
from types import TracebackType
from typing import Any, Unpack

from pipeline.app.assemble import assemble
from pipeline.app.config.loading import load_config, source_of
from pipeline.app.run.python_api import RunKeywords, in_python, options_of
from pipeline.app.run.supervisor import SourceStatus, Supervisor
from pipeline.errors import ConfigError, StreamdetError
from pipeline.flow.running import Running
from pipeline.json_values import Json
from pipeline.picture.detections import Result


class Run:
    """A run whose sources can be added, removed and paused, from any thread; iterate over its results.

        with Run("rtsp://door/stream", model="yolox-nano") as run:
            run.add("rtsp://yard/stream", name="yard", classes="person")
            for result in run:
                print(result)

    sources: words or paths, as of `detect`; at least one. stays_open: the loop goes on without sources too, until
    `stop`; otherwise it ends with the last of them. The other arguments are those of `detect`.
    It can be run once. Raises a StreamdetError, at the call, for what cannot be opened, and in the loop, after the
    results before it, for what breaks on the way. Leaving the block early gives the run up.
    """

    def __init__(
        self,
        *sources: int | str | PathLike[str],
        model: str | PathLike[str] | None = None,
        config: str | None = None,
        settings: Mapping[str, Any] | None = None,
        stays_open: bool = False,
        **keywords: Unpack[RunKeywords],
    ) -> None:
        try:
            words = tuple(map(_word, sources))
            options = {"sources": words} | options_of(model, config, settings, keywords, caller="Run()")
            self._assembly = assemble(load_config(config, options=options, origin="Run()"), takes_sources=True)
        except StreamdetError as error:
            raise in_python(error) from error
        self._running = Running(
            self._assembly.flow,
            results=True,
            stays_open=True,
            ends_with_sources=not stays_open,
            collects_cycles=True,
        )
        self._supervisor = Supervisor(self._running, self._assembly)

    def __enter__(self) -> Run:
        self._running.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            self._running.__exit__(kind, error, traceback)
        finally:
            self._supervisor.assembly.close_engines()

    def __iter__(self) -> Iterator[Result]:
        """Yield the results of all sources as they come; leaving the loop early ends the run."""
        try:
            yield from self._running
        except StreamdetError as error:
            raise in_python(error) from error

    def add(
        self,
        source: int | str | PathLike[str],
        *,
        name: str | None = None,
        model: str | PathLike[str] | None = None,
        weight: float = 1.0,
        classes: str | Sequence[str] | None = None,
        score_threshold: float | None = None,
    ) -> str:
        """Start a source; returns its name in the results.

        model: its own, by default that of the run. weight: its share of a network that cannot keep up, others have 1.
        Raises a StreamdetError for what cannot be opened, a name that the run has, and a run that has ended.
        """
        own = {
            "name": name,
            "model": None if model is None else fspath(model),
            "classes": classes,
            "score_threshold": score_threshold,
        }
        entry = {"url": _word(source), "weight": weight} | {
            key: value for key, value in own.items() if value is not None
        }
        try:
            return self._supervisor.add(source_of(entry, "add()"))
        except StreamdetError as error:
            raise in_python(error) from error

    def remove(self, name: str) -> None:
        """Ask a source to end; what it has captured still comes. Raises FlowError for one that is not there."""
        self._supervisor.remove(name)

    def pause(self, name: str) -> None:
        """Let a source wait; what a camera gives meanwhile is not captured. Raises FlowError as `remove`."""
        self._supervisor.pause(name)

    def resume(self, name: str) -> None:
        """Let a source go on. Raises FlowError as `remove`."""
        self._supervisor.pause(name, is_paused=False)

    def shapes(self, name: str) -> dict[str, Json]:
        """The `lines` and `zones` of a source by name, and whether they are saved. Raises FlowError as `remove`."""
        return self._supervisor.shapes.of(name)

    def change_shapes(
        self, name: str, *, lines: Mapping[str, Any] | None = None, zones: Mapping[str, Any] | None = None
    ) -> dict[str, Json]:
        """Count at other lines and zones of a source from its next frame on; None: at those that it has of the kind.

            run.change_shapes("door", lines={"gate": "0,0.5,1,0.5"}, zones={})

        A shape that is as it was, but perhaps for its name, keeps its counts. Needs a run that counts or tracks:
        `settings={"track.kind": "bytetrack"}`. Returns as `shapes`; raises ConfigError for what cannot be.
        """
        before = self.shapes(name)
        try:
            new = {"lines": lines, "zones": zones}
            values = {kind: before[kind] if shapes is None else dict(shapes) for kind, shapes in new.items()}
            return self._supervisor.shapes.change(name, values)
        except StreamdetError as error:
            raise in_python(error) from error

    def save_shapes(self, name: str) -> Path:
        """Write the lines and zones of a source to the file of `config`, in which all else stays; returns its path.

        Raises ConfigError where there is none.
        """
        try:
            return self._supervisor.shapes.save(name)
        except StreamdetError as error:
            raise in_python(error) from error

    def sources(self) -> list[SourceStatus]:
        """All sources that there are or were, with their states and numbers of frames."""
        return self._supervisor.sources()

    def stop(self) -> None:
        """Ask all sources to end; the loop goes on with what was captured, and ends."""
        self._running.stop()


def _word(source: object) -> str:
    if isinstance(source, bool) or not isinstance(source, int | str | PathLike):
        raise ConfigError(f"a source of a run must be a number, a string or a path, got {type(source).__name__}")
    return str(source)
