"""Data sets: the table of what the systems learn from and are judged on, by the word that `--on` takes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from export.lineage.scattered import held_out_scattered, training_scattered
from export.lineage.scenes import FIRST_HELD_OUT_SEED, Scenes, held_out_streets, training_streets
from pipeline.errors import ConfigError
from pipeline.picture.image_file import write_image

_HELD_OUT_STREET = f"sim:traffic?seed={FIRST_HELD_OUT_SEED + 2}&size=640x360&seconds=inf"


@dataclass(frozen=True, slots=True)
class DataSet:
    """Scenes to learn from, others to judge on, and pictures for a run.

    source: writes what a run needs into an empty folder, and returns the word of a source of held-out pictures, which
    begins anew where it ends.
    """

    name: str  # as it is typed
    training: Callable[..., Scenes]  # takes on_picture, as training_streets
    held_out: Callable[..., Scenes]
    source: Callable[[Path], str]


def _written(folder: Path) -> str:
    """Held-out scattered pictures as files of the folder. Raises SinkError for what cannot be written there."""
    for number, example in enumerate(held_out_scattered().examples):
        write_image(folder / f"{number:03d}.png", np.ascontiguousarray(example.pixels[:, :, ::-1]))
    return str(folder)


DATA_SETS: tuple[DataSet, ...] = (
    DataSet("streets", training_streets, held_out_streets, lambda _: _HELD_OUT_STREET),
    DataSet("scattered", training_scattered, held_out_scattered, _written),
)


def data_set_named(name: str) -> DataSet:
    """The data set of that name. Raises ConfigError for another name."""
    data_sets = {data_set.name: data_set for data_set in DATA_SETS}
    if name not in data_sets:
        raise ConfigError(f"--on must be {' or '.join(data_sets)}, the pictures to learn from, got {name!r}")
    return data_sets[name]
