"""Model files: what was typed for a model → its file, which is downloaded if a published detector was named.

A word with a suffix or a separator is a path. Any other is a name: `demo`, or one of `streamdet models`.
"""

from __future__ import annotations

import contextlib
import difflib
import logging
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

from pipeline.app.extras import load
from pipeline.app.progress import Say
from pipeline.app.terminal import SafeConsole, tell
from pipeline.detector.model_cache import local_file, model_from_cache
from pipeline.detector.published import PublishedModel, published_model, published_models
from pipeline.errors import ModelError
from pipeline.web_file import Watch

logger = logging.getLogger(__name__)

DEMO_MODEL = Path(__file__).parents[1] / "detector" / "demo.onnx"
DEMO = "demo"
_LONGEST_NAME = 80


def model_file(word: str | Path | None) -> Path:
    """The file of a model; a published one is downloaded if need be. None and `demo`: that which comes with streamdet.

    A path is returned as it is, whether there is such a file or not. Raises ModelError for a name that nothing has, and
    for a file that cannot be downloaded.
    """
    if word is None or str(word) == DEMO:
        return DEMO_MODEL
    model = published_model(str(word))
    if model is not None:
        if _exists(word):
            logger.warning("%s is the name of a detector, not the file here; for that, write ./%s", word, word)
        return model_from_cache(model, _Terminal(SafeConsole(stderr=True)))
    if not _exists(word):
        _refuse_no_file(str(word))
    return Path(word)


def known_file(word: str | Path) -> Path:
    """The same without a download: where the file is, or would be looked for."""
    if str(word) == DEMO:
        return DEMO_MODEL
    model = published_model(str(word))
    return Path(word) if model is None else local_file(model) or Path(word)


def is_file_or_published(word: str) -> bool:
    """Whether a word means an ONNX file rather than a PyTorch detector that `export` builds."""
    return word == DEMO or published_model(word) is not None or Path(word).suffix == ".onnx" or Path(word).is_file()


def is_exported(word: str) -> bool:
    """Whether `export` knows a word as the name of a PyTorch detector."""
    return word in _exported_names()


def _refuse_no_file(word: str) -> None:
    """Raise ModelError for a word that is neither a file nor a name; paths without a hint are left to whoever reads."""
    names = _exported_names()
    stem = word.removesuffix(".onnx")
    if stem in names:
        raise ModelError(f"{word}: no such file, and none is published; make it with: streamdet export {stem}")
    nearest = _nearest(stem, [model.name for model in published_models()])
    if Path(word).suffix == ".onnx" and nearest and _bare(stem) == _bare(nearest):
        raise ModelError(f"{word}: no such file; --model {nearest}, without .onnx, downloads it")
    if Path(word).name != word or Path(word).suffix or len(word) > _LONGEST_NAME:
        return
    hint = nearest or _nearest(word, names)
    raise ModelError(
        f"{word}: no such file, and no name of a detector"
        + (f"; did you mean {hint!r}?" if hint else "; a model must be an ONNX file or a name of `streamdet models`")
    )


def _exists(word: str | Path) -> bool:
    try:
        return Path(word).exists()
    except OSError:  # too long, which whoever reads it says
        return False


def _exported_names() -> Sequence[str]:
    return [name for names in load("export.known").NAMES.values() for name in names]


def _nearest(word: str, names: Sequence[str]) -> str | None:
    by_bare = {_bare(name): name for name in reversed(names)}
    nearest = difflib.get_close_matches(_bare(word), list(by_bare), n=1, cutoff=0.7)
    return by_bare[nearest[0]] if nearest else None


def _bare(word: str) -> str:
    """Without capitals and what is put between words."""
    return re.sub("[-_. ]", "", word.lower())


class _Terminal:
    """Shows a download on the terminal, and in a log as lines."""

    def __init__(self, console: Console) -> None:
        self._console = console

    def say(self, line: str) -> None:
        tell(self._console, line, "dim")

    @contextlib.contextmanager
    def watching(self, model: PublishedModel) -> Iterator[Watch]:
        if not self._console.is_terminal:
            yield _Quarters(self.say, model)
            return
        columns = (BarColumn(), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn())
        with Progress(TextColumn(model.name), *columns, console=self._console, transient=True) as progress:
            task = progress.add_task(model.name, total=model.num_bytes)
            yield lambda done, total: progress.update(task, completed=done, total=total)


class _Quarters:
    """Says in a log when another quarter of a file is there."""

    def __init__(self, say: Say, model: PublishedModel) -> None:
        self._say, self._name, self._quarters = say, model.name, 0

    def __call__(self, done: int, total: int | None) -> None:
        quarters = 4 * done // (total or done * 5 or 1)
        if quarters > self._quarters:
            self._quarters = quarters
            self._say(f"{self._name}: {25 * quarters}% of {(total or 0) / 1e6:.1f} MB")
