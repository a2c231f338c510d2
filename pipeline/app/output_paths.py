"""Outputs against files: what a command writes is nothing that it reads, and replaces no file unasked."""

from __future__ import annotations

import os
from collections.abc import Collection, Hashable, Iterable, Mapping, Sequence
from pathlib import Path

from pipeline.app.config.run import RunConfig
from pipeline.app.model_files import known_file
from pipeline.detector.onnx_file import weight_files
from pipeline.errors import ConfigError, SinkError, reason_of
from pipeline.path_identity import FileNumber, SpecialNumber, path_identity
from pipeline.sinks.writable import refuse_no_path
from pipeline.sources.kinds import files_of

Outputs = Sequence[tuple[str, str | Path | None]]
"""Option and path; None and - are no files."""

Inputs = Mapping[str, Iterable[Path]]
"""What is read, by the words that an error has for it."""

_MOST_NAMED = 6  # files in an error; there are as many outputs as images in a folder


def refuse_overwriting(
    outputs: Outputs, inputs: Inputs, *, overwrite: bool, folders: Outputs = (), appended: Outputs = ()
) -> None:
    """Raise SinkError for outputs that would overwrite something; asked before any work.

    outputs: files, which must not be an input or each other. overwrite: whether those that exist already may be
    replaced, as --overwrite says. folders: outputs that are filled with files, and so must not hold any yet.
    appended: files that are added to, and so may exist.
    """
    refuse_output_over_input([*outputs, *appended], inputs, folders=folders)
    if overwrite:
        return
    existing = [f"{path} ({option})" for option, path in outputs if _is_file(path)]
    existing += [f"{path} ({option})" for option, path in folders if _holds_files(path)]
    if existing:
        verb, them, name = ("exists", "it", "another file") if len(existing) == 1 else ("exist", "them", "other files")
        named = existing if len(existing) <= _MOST_NAMED else [*existing[:2], f"{len(existing) - 2} others"]
        raise SinkError(f"{' and '.join(named)} {verb} already; replace {them} with --overwrite, or name {name}")


def refuse_output_over_input(outputs: Outputs, inputs: Inputs, *, folders: Outputs = ()) -> None:
    """Raise SinkError for an output that is an input or another output, by whatever name, link or hard link.

    folders: those of the outputs that are folders. Outputs need not exist yet. A device or a pipe, such as /dev/null,
    may be written to by several.
    """
    written = _identities(outputs, {option for option, _ in folders})
    if not any(isinstance(identity, FileNumber) for identity in written):  # what does not exist yet is not an input
        return
    read: dict[Hashable, str] = {}
    for what, paths in inputs.items():
        for path in paths:
            read.setdefault(_identity(path), what)
    for identity, (option, word) in written.items():
        if isinstance(identity, FileNumber) and identity in read:
            raise SinkError(f"{option} must not be {read[identity]}, got {word}; it would be overwritten")


def _identities(outputs: Outputs, folder_options: Collection[str]) -> dict[Hashable, tuple[str, str | Path]]:
    """The option and path of each output file by its identity. Raises SinkError for two that are one file."""
    written: dict[Hashable, tuple[str, str | Path]] = {}
    for option, word in outputs:
        identity = None if word is None or str(word) == "-" else _identity(Path(word))
        if word is None or identity is None:
            continue
        if identity in written and written[identity][0] == option:
            raise SinkError(f"{option} would write {word} twice; name every source once")
        if identity in written:
            other = written[identity][0]
            kind = "folders" if {other, option} <= set(folder_options) else "files"
            raise SinkError(f"{other} and {option} must be two {kind}, got {word} for both")
        written[identity] = option, word
    return written


def refuse_folder_of_inputs(option: str, folder: str, inputs: Inputs) -> None:
    """Raise SinkError for a folder in which a run chooses the names of files, if what is read lies below it."""
    where = Path(os.path.realpath(folder))
    for what, paths in inputs.items():
        for path in paths:
            if where in Path(os.path.realpath(path)).parents:
                raise SinkError(f"{option} must be another folder than that of {what}, got {folder}, where {path} is")


def inputs_of(config: RunConfig) -> dict[str, list[Path]]:
    """The files that a run of a configuration reads, by what they are."""
    entries = config.source_configs
    models = [config.model, *(entry.model for entry in entries)]
    hints = [config.hints, *(entry.hints for entry in entries if entry.hints is not None)]
    words = [*config.source_words, *(entry.detect_url for entry in entries if entry.detect_url is not None)]
    return {
        "the source itself": [path for word in words for path in files_of(word)],
        "the model": [path for model in dict.fromkeys(models) for path in files_of_model(model)],
        "the configuration": [] if config.file is None else [config.file],
        "the file of class names": [Path(hint.class_names) for hint in hints if hint.class_names is not None],
        "the file of anchors": [Path(hint.anchors) for hint in hints if hint.anchors is not None],
    }


def files_of_model(model: str | Path | None) -> list[Path]:
    """The file of a model and those in which its weights are; of a folder, such as transformers saves, all in it."""
    if model is None:
        return []
    try:
        path = known_file(model)
        return [file for file in path.iterdir() if file.is_file()] if path.is_dir() else [path, *weight_files(path)]
    except (OSError, ValueError):
        return []  # what cannot be opened cannot be overwritten; opening it says why


def make_folder(option: str, folder: Path) -> None:
    """Make a folder for outputs, and those above it. Raises SinkError, which names the option, if it cannot be made."""
    refuse_no_path(folder, option)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except FileExistsError as error:
        raise SinkError(f"{option} must be a folder, got {folder}, which is a file") from error
    except OSError as error:
        raise SinkError(f"{option} must be a folder that can be made, got {folder}: {reason_of(error)}") from error


def refuse_folder_of_images(option: str, folder: Path, images: Iterable[Path]) -> None:
    """Raise ConfigError for a folder that would be filled with pictures although its images are what is read."""
    where = _identity(folder)
    if where is not None and any(_identity(parent) == where for parent in {image.parent for image in images}):
        raise ConfigError(f"{option} must not be the folder of the images that are read, got {folder}")


def _is_file(path: str | Path | None) -> bool:
    """Whether a file is there that could be lost; devices and pipes have nothing to lose."""
    try:
        return path is not None and str(path) != "-" and Path(path).is_file()
    except (OSError, ValueError):
        return False  # it cannot be opened either, and whoever tries says why


def _holds_files(folder: str | Path | None) -> bool:
    try:
        return folder is not None and Path(folder).is_dir() and any(Path(folder).iterdir())
    except (OSError, ValueError):
        return False


def _identity(path: Path) -> Hashable:
    """That of a file; None for devices and pipes, which have nothing to lose, and for what cannot be opened either."""
    identity = path_identity(path)
    return None if isinstance(identity, SpecialNumber) else identity
