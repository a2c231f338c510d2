"""Model groups: the sources of a run, each with the model that it names → the sources that share a model, by model."""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from pipeline.app.config.hints import HintsConfig
from pipeline.app.config.run import RunConfig
from pipeline.app.config.source import SourceConfig
from pipeline.app.model_files import DEMO, DEMO_MODEL, known_file
from pipeline.errors import ConfigError


@dataclass(frozen=True, slots=True)
class ModelChoice:
    """A model as it is named for a source: two that are equal share an engine.

    path: of its file, or where a published one would be; of two names of one file it is the same.
    """

    path: Path
    hints: HintsConfig
    word: str | None = field(compare=False)  # None: nobody named one

    @classmethod
    def of(cls, config: RunConfig, entry: SourceConfig | None) -> ModelChoice:
        """The model of a source: its own, or that of the run. entry: None: it has no settings of its own.

        Raises ConfigError for hints without a model that they are about.
        """
        own = None if entry is None else entry.model
        if own is None:
            if entry is not None and entry.hints is not None:
                raise ConfigError(
                    f"{entry.name or entry.url}: hints of a source are about its own model, and it names none; "
                    "add model: FILE.onnx, or move them to the hints of the run"
                )
            return cls(_path_of(config.model), config.hints, config.model)
        path = _path_of(own)
        # Who names the run's model once more means the same one, with the hints that it needs.
        of_run = config.hints if config.model is not None and path == _path_of(config.model) else HintsConfig()
        return cls(path, of_run if entry is None or entry.hints is None else entry.hints, own)

    @property
    def name(self) -> str:
        """In names of nodes and in reports: the word, or of a path the file without its suffix."""
        return Path(self.word or DEMO).stem or str(self.word)

    def config(self, of_run: RunConfig) -> RunConfig:
        """The configuration of a run in which all sources are of this model."""
        sources = tuple(
            entry if isinstance(entry, str) else entry.model_copy(update={"model": None, "hints": None})
            for entry in of_run.sources
        )
        return of_run.model_copy(update={"model": self.word, "hints": self.hints, "sources": sources})


@dataclass(frozen=True, slots=True)
class ModelGroup:
    """A model, and the sources of a run whose pictures it gets. label: "" where it is the only one."""

    choice: ModelChoice
    label: str
    source_ids: tuple[str, ...]


def model_groups(
    config: RunConfig, source_ids: Iterable[str], settings: Mapping[str, SourceConfig]
) -> list[ModelGroup]:
    """The groups, in the order of their first sources.

    settings: of the sources that have any. Raises ConfigError for hints without a model.
    """
    members: dict[ModelChoice, list[str]] = {}
    for name in source_ids:
        members.setdefault(ModelChoice.of(config, settings.get(name)), []).append(name)
    groups: list[ModelGroup] = []
    for choice, names in members.items():
        label = free_label(choice.name, {group.label for group in groups}) if len(members) > 1 else ""
        groups.append(ModelGroup(choice, label, tuple(names)))
    return groups


def free_label(name: str, taken: Container[str]) -> str:
    """The name, or where another model has it, as of two files m.onnx in two folders, with a number."""
    free, number = name, 2
    while free in taken:
        free, number = f"{name}#{number}", number + 1
    return free


def _path_of(word: str | None) -> Path:
    path = DEMO_MODEL if word is None else known_file(word)
    try:
        return path.resolve()
    except (OSError, ValueError, RuntimeError):
        return path  # opening it says why
