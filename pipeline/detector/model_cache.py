"""Model cache: the name of a published detector → its checked file on this machine, downloaded once.

$STREAMDET_MODELS/NAME.onnx          a folder of the user's, whose files are used where they lie
~/.cache/streamdet/models/NAME.onnx  what was downloaded, from a mirror in $STREAMDET_MODELS or as published
                    /NAME.onnx.sha256    of a file of which nobody has published the hash, remembered at first use
"""

from __future__ import annotations

import contextlib
import os
import re
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO, Protocol
from urllib.parse import quote

from pipeline.cache_folder import cache_folder
from pipeline.detector.onnx_file import graph_hash
from pipeline.detector.published import PublishedModel, sha256_of
from pipeline.errors import ModelError, reason_of
from pipeline.masking import masked_address
from pipeline.user_path import user_path
from pipeline.web_file import DownloadError, Watch, fetch

MIRROR = "STREAMDET_MODELS"
_STALE_SECONDS = 600.0  # a download that lives writes more often


class Listener(Protocol):
    """Whoever shows how a download goes."""

    def say(self, line: str) -> None:
        """A line about what happens."""

    def watching(self, model: PublishedModel) -> contextlib.AbstractContextManager[Watch]:
        """While a file is received, what is called with how much of it is there."""


def models_folder() -> Path:
    """Where downloaded files are kept; it need not exist yet."""
    return cache_folder() / "models"


def mirror() -> str:
    """The folder or address that the user has named, empty without one."""
    return os.environ.get(MIRROR, "").strip()


def local_file(model: PublishedModel) -> Path | None:
    """The file of a model that is on this machine, unchecked; None where it is still to be downloaded."""
    in_folder = _in_mirror_folder(model)
    cached = models_folder() / f"{model.name}.onnx"
    return in_folder or (cached if cached.is_file() else None)


def remembered_hash(model: PublishedModel) -> str | None:
    """The SHA-256 with which a model of an unpublished hash came first, None before."""
    try:
        words = _hash_file(model).read_text(encoding="ascii").split()
    except (OSError, UnicodeDecodeError):
        return None
    return words[0] if words and re.fullmatch("[0-9a-f]{64}", words[0]) else None


def model_from_cache(model: PublishedModel, listener: Listener, *, timeout_seconds: float = 30.0) -> Path:
    """The file of a model, downloaded if it is not on this machine, with its size and hash checked.

    Raises ModelError for a file that cannot be fetched, or is not the one that was published.
    """
    in_folder = _in_mirror_folder(model)
    if in_folder is not None:
        problem = _problem_of(in_folder, model)
        if problem is not None:
            raise ModelError(f"{in_folder}: {problem}; replace it, or unset {MIRROR}")
        _remember(in_folder, model, listener)
        return in_folder
    cached = models_folder() / f"{model.name}.onnx"
    if cached.is_file():
        problem = _problem_of(cached, model)
        if problem is None:
            return cached
        listener.say(f"{cached} is damaged, {problem}; it is downloaded anew")
    _download(model, cached, listener, timeout_seconds)
    return cached


def _in_mirror_folder(model: PublishedModel) -> Path | None:
    """The file in the user's folder; None without a folder, or where it has no such file. Raises ModelError."""
    if not mirror() or _is_address(mirror()):
        return None
    folder = user_path(mirror(), raises=ModelError)
    if not folder.is_dir():
        raise ModelError(f"{MIRROR} must be a folder or an http(s) address, got {masked_address(mirror())}")
    return next((folder / name for name in model.file_names if (folder / name).is_file()), None)


def _is_address(word: str) -> bool:
    return re.match("https?://.", word, re.IGNORECASE) is not None


def _addresses(model: PublishedModel) -> tuple[str, ...]:
    """Where to look for a file, the first first."""
    if not _is_address(mirror()):
        return (model.address,)
    return (*(f"{mirror().rstrip('/')}/{quote(name)}" for name in model.file_names), model.address)


def _problem_of(path: Path, model: PublishedModel) -> str | None:
    """Why a file is not the one that was published, None if it is, or if nobody knows."""
    try:
        num_bytes, digest = path.stat().st_size, sha256_of(path)
    except OSError as error:
        return f"it cannot be read: {reason_of(error)}"
    if model.num_bytes not in (None, num_bytes):
        return f"{model.name} has {model.num_bytes:,} bytes, this file {num_bytes:,}"
    remembered = remembered_hash(model)
    if model.sha256 not in (None, digest):
        return f"{model.name} has the SHA-256 {model.sha256}, this file {digest}"
    if model.sha256 is None and remembered not in (None, digest):
        return (
            f"{model.name} came first with the SHA-256 {remembered}, this file has {digest}; "
            f"delete {_hash_file(model)} to trust another"
        )
    return _problem_of_content(path) if model.sha256 is None and remembered is None else None


def _problem_of_content(path: Path) -> str | None:
    """Why a file that no hash speaks for is not even a model."""
    try:
        graph_hash(path)
    except ModelError:
        return "it is not an ONNX file"
    return None


def _download(model: PublishedModel, target: Path, listener: Listener, timeout_seconds: float) -> None:
    """Put the file of a model in its place, checked, or leave nothing. Raises ModelError."""
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        _remove_stale(target)
        with _part_of(target) as (part, file):
            _receive(model, file, listener, timeout_seconds)
            os.fsync(file.fileno())
            problem = _problem_of(part, model)
            if problem is not None:
                raise ModelError(f"{model.name} cannot be used, what came is removed: {problem}")
            _remember(part, model, listener)
            part.chmod(0o644)
            part.replace(target)
    except OSError as error:
        raise ModelError(
            f"{model.name} cannot be kept in {target.parent}: {reason_of(error)}; "
            f"XDG_CACHE_HOME names another place, {MIRROR} a folder of files"
        ) from error
    listener.say(f"{model.name}: kept in {target}")


def _receive(model: PublishedModel, file: BinaryIO, listener: Listener, timeout_seconds: float) -> None:
    """The bytes of the first address that has them. Raises ModelError."""
    for address in _addresses(model):
        source = model.source if address == model.address else masked_address(mirror())
        listener.say(f"downloading {model.name}: {model.licence}, {model.size_in_words}, from {source}")
        try:
            with listener.watching(model) as watch:
                fetch(address, file, num_bytes=model.num_bytes, watch=watch, timeout_seconds=timeout_seconds)
            return
        except DownloadError as error:
            if error.is_absent and address != model.address:
                listener.say(f"{masked_address(address)}: {error}")
                continue
            raise ModelError(
                f"{model.name} cannot be downloaded from {source}: {error}; try again, or set "
                f"{MIRROR} to a folder with {' or '.join(model.file_names)}, or to a mirror"
            ) from error


def _remember(path: Path, model: PublishedModel, listener: Listener) -> None:
    """Write down the hash of a file of which nobody has published one, and say so, once."""
    if model.sha256 is not None or remembered_hash(model) is not None:
        return
    digest = sha256_of(path)
    hash_file = _hash_file(model)
    try:
        hash_file.parent.mkdir(parents=True, exist_ok=True)
        hash_file.write_text(f"{digest}  {model.name}.onnx\n", encoding="ascii")
    except OSError as error:
        listener.say(f"{model.name}: its SHA-256 cannot be remembered in {hash_file}: {reason_of(error)}")
        return
    listener.say(f"{model.name}: nobody has published its SHA-256; {digest} is remembered in {hash_file}")


def _hash_file(model: PublishedModel) -> Path:
    """As sha256sum writes and reads it."""
    return models_folder() / f"{model.name}.onnx.sha256"


@contextlib.contextmanager
def _part_of(target: Path) -> Iterator[tuple[Path, BinaryIO]]:
    """A file beside the target that nobody else writes, and that is gone afterwards."""
    handle, name = tempfile.mkstemp(prefix=f".{target.name}.", suffix=".part", dir=target.parent)
    part = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            yield part, file
    finally:
        part.unlink(missing_ok=True)


def _remove_stale(target: Path, now: Callable[[], float] = time.time) -> None:
    """Delete what a process left that was killed while it downloaded this file."""
    for part in target.parent.glob(f".{target.name}.*.part"):
        with contextlib.suppress(OSError):
            if now() - part.stat().st_mtime > _STALE_SECONDS:
                part.unlink()
