"""Command `lineage`: an action on the line from HOG to DETR → its work, and an exit code."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import NamedTuple

from pipeline.app.lineage.compare import compare_systems
from pipeline.app.lineage.options import Action, LineageOptions
from pipeline.app.lineage.show import show_idea
from pipeline.app.lineage.train import train_systems
from pipeline.errors import ConfigError


class _Work(NamedTuple):
    """The work of an action, and the options that it heeds beside its subject."""

    run: Callable[[LineageOptions], None]
    options: tuple[str, ...]


_WORK: Mapping[Action, _Work] = {
    "show": _Work(show_idea, ("on", "frame", "model", "frames", "output", "overwrite", "config")),
    "compare": _Work(compare_systems, ("on", "out", "overwrite")),
    "train": _Work(train_systems, ("on", "minutes", "threads", "out", "overwrite")),
}


def run_lineage(options: LineageOptions) -> int:
    """Do it; 0. Raises ConfigError for an option of another action, and what the action raises."""
    work = _WORK[options.action]
    for field in dataclasses.fields(options):
        is_typed = getattr(options, field.name) != field.default
        if is_typed and field.name not in ("action", "subject", *work.options):
            name = "a flag of models" if field.name == "config" else f"--{field.name}"
            raise ConfigError(f"{name} has no effect on lineage {options.action}; leave it out")
    work.run(options)
    return 0
