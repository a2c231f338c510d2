"""Command `lineage train`: systems by name → trained on drawn pictures, one ONNX file each, and their mAP."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

from pipeline.app.extras import load
from pipeline.app.lineage.options import LineageOptions
from pipeline.app.output_paths import refuse_overwriting
from pipeline.app.progress import Phase, WorkProgress
from pipeline.app.terminal import SafeConsole, tell
from pipeline.sinks.writable import refuse_unwritable

_EXTRA = "lineage"


def train_systems(options: LineageOptions) -> None:
    """Train, export, judge, one system after the other; each file is written as soon as it is complete.

    Raises ConfigError for an unknown system or data set, SinkError for a file that exists or cannot be written,
    ModelError for an export that does not agree with PyTorch.
    """
    systems = load("export.lineage.systems", extra=_EXTRA).systems_named(options.subject)
    data_set = load("export.lineage.data_sets", extra=_EXTRA).data_set_named(options.data_set)
    paths = {system.name: options.folder / f"{system.name}.onnx" for system in systems}
    refuse_overwriting([("--out", path) for path in paths.values()], {}, overwrite=options.overwrite)
    for path in paths.values():
        refuse_unwritable(path, "the trained system")
    learning, train = (load(f"export.lineage.{name}", extra=_EXTRA) for name in ("learning", "train"))
    progress, console = WorkProgress(), SafeConsole()
    scenes = _drawn(progress, f"drawing {data_set.name}", data_set.training)
    held_out = _drawn(progress, f"drawing held-out {data_set.name}", data_set.held_out)
    for system in systems:
        progress(f"training {system.title} ({system.year})")
        with ExitStack() as stack:
            training = learning.Training(minutes=options.minutes, on_step=_OnStep(progress, stack))
            trained = train.train_system(
                system,
                scenes,
                held_out,
                paths[system.name],
                training,
                num_threads=options.threads,
                on_part=lambda part: _next(stack, progress, part),
            )
        tell(console, _in_words(trained))


def _drawn(progress: WorkProgress, name: str, draw: Callable[..., Any]) -> Any:
    """Scenes, with a bar."""
    with progress.phase(name, total=1) as phase:
        return draw(on_picture=phase.at)


def _next(stack: ExitStack, progress: WorkProgress, part: str) -> None:
    """End the bar of a training, and say what comes next."""
    stack.close()
    progress(part)


class _OnStep:
    """The steps of a training as a bar, a new one for each part."""

    def __init__(self, progress: WorkProgress, stack: ExitStack) -> None:
        self._progress, self._stack = progress, stack
        self._part = ""
        self._phase: Phase | None = None

    def __call__(self, part: str, done: int, total: int) -> None:
        if self._phase is None or part != self._part:
            self._stack.close()
            self._part, self._phase = part, self._stack.enter_context(self._progress.phase(part, total=total))
        self._phase.at(done, total)


def _in_words(trained: Any) -> str:
    record, parity = trained.record, trained.parity
    by_class = ", ".join(f"{name} {ap:.2f}" for name, ap in record.judgement.ap50_of_class.items())
    return (
        f"{trained.path}: mAP50 {record.judgement.map50:.3f} ({by_class}), mAP {record.judgement.map:.3f} on "
        f"{record.judged_on}; {record.train_minutes:.1f} minutes of training; certificate: {parity}"
    )
