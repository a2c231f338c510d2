"""Label sinks: what all formats do alike, in a folder with a file a picture, or in one file about all pictures."""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

from pipeline.errors import SinkError, reason_of
from pipeline.picture.detections import Detections, Result
from pipeline.sinks.labels.picture import LabelledPicture
from pipeline.sinks.picture_names import PictureNames, fitted
from pipeline.sinks.writable import refuse_no_path, refuse_unwritable, refuse_unwritable_folder
from pipeline.whole_file import WholeFile, write_whole

logger = logging.getLogger(__name__)


class LabelSink(ABC):
    """Labels the picture of each result. An image that comes twice is labelled once.

    names: those of the run's pictures. overwrite: whether labels that are there already may be replaced.
    Raises SinkError where nothing can be written, or, without `overwrite`, where there are labels already.
    """

    what: ClassVar[str]  # in errors
    keeps: ClassVar[frozenset[str]] = frozenset()  # of masks, keypoints and corners

    def __init__(self, path: str | Path, *, names: PictureNames | None = None, overwrite: bool = False) -> None:
        refuse_no_path(path, self.what)
        self._path, self._names = Path(path), names or PictureNames()
        self._images: dict[str, str] = {}
        self._has_warned = False
        self._refuse_unwritable()
        old = None if overwrite else next(self._old_labels(), None)
        if old is not None:
            others = "it" if old == self._path else old
            raise SinkError(
                f"{self._path}: {self.what} must not replace others, and {others} is there already; "
                "replace them with --overwrite, or name another place"
            )

    def write(self, item: Result) -> None:
        """Label a picture. Raises SinkError."""
        picture = LabelledPicture.of(item, self._names)
        if picture.image is not None and not self._is_new(picture.name, picture.image):
            return
        self._warn_of_loss(item.detections)
        try:
            self._write(picture)
        except OSError as error:
            self._give_up()
            raise self._error(error) from error

    def close(self) -> None:
        """Finish the labels; none, where there was no picture. May be called more than once. Raises SinkError."""
        try:
            self._finish()
        except OSError as error:
            self._give_up()
            raise self._error(error) from error

    @abstractmethod
    def _refuse_unwritable(self) -> None: ...

    @abstractmethod
    def _old_labels(self) -> Iterator[Path]: ...

    @abstractmethod
    def _write(self, picture: LabelledPicture) -> None: ...

    @abstractmethod
    def _finish(self) -> None: ...

    @abstractmethod
    def _give_up(self) -> None:
        """After a failure: nothing more is written."""

    def _is_new(self, name: str, image: str) -> bool:
        """Whether an image has no labels yet."""
        num_before, first = len(self._images), self._images.setdefault(name, image)
        if first != image:
            raise SinkError(
                f"{self._path}: {self.what} must have a name for every image, and {first} and {image} are both {name}; "
                "give `names` all images"
            )
        return len(self._images) > num_before

    def _warn_of_loss(self, detections: Detections) -> None:
        lost = [name for name in ("masks", "keypoints", "corners") if getattr(detections, name) is not None]
        lost = [name for name in lost if name not in self.keeps]
        if lost and not self._has_warned:
            self._has_warned = True
            logger.warning("%s: %s have boxes only, %s are left out", self._path, self.what, " and ".join(lost))

    def _error(self, error: OSError) -> SinkError:
        return SinkError(f"{self._path}: {self.what} cannot be written: {reason_of(error)}")


class FolderLabels(LabelSink):
    """A file for each picture, called as the picture but for the suffix; a killed run leaves only whole files.

    Raises SinkError for two images that would share one file.
    """

    suffix: ClassVar[str]

    def __init__(self, path: str | Path, *, names: PictureNames | None = None, overwrite: bool = False) -> None:
        super().__init__(path, names=names, overwrite=overwrite)
        alike = self._names.alike_but_for_suffix()
        if alike is not None:
            raise SinkError(
                f"{path}: {self.what} have one file for a name without its suffix, which {alike[0]} and {alike[1]} "
                "would share; rename one of them, or write --labels coco=FILE"
            )

    @property
    def _folder(self) -> Path:
        """Where the files of the pictures are."""
        return self._path

    def _name_of(self, picture: LabelledPicture) -> str | Path:
        """Below the folder, with the picture's suffix."""
        return picture.name

    @abstractmethod
    def _content(self, picture: LabelledPicture) -> bytes: ...

    def _write(self, picture: LabelledPicture) -> None:
        path = self._folder / self._name_of(picture)
        write_whole(path.with_name(fitted(path.stem, self.suffix)), self._content(picture))

    def _refuse_unwritable(self) -> None:
        refuse_unwritable_folder(self._path, self.what)

    def _old_labels(self) -> Iterator[Path]:
        return (path for path in self._folder.rglob("*") if path.suffix.lower() == self.suffix)

    def _finish(self) -> None: ...

    def _give_up(self) -> None: ...


class FileLabels(LabelSink):
    """One file about all pictures, which takes its place when it is finished; memory does not grow with it."""

    _file: WholeFile | None = None
    _is_broken = False

    @abstractmethod
    def _begin(self, picture: LabelledPicture) -> bytes:
        """The beginning of the file. picture: the first one."""

    @abstractmethod
    def _piece(self, picture: LabelledPicture) -> bytes: ...

    @abstractmethod
    def _end(self, file: WholeFile) -> None:
        """Write the end of the file."""

    def _write(self, picture: LabelledPicture) -> None:
        if self._is_broken:
            return
        if self._file is None:
            self._file = WholeFile(self._path)
            self._file.file.write(self._begin(picture))
        self._file.file.write(self._piece(picture))

    def _refuse_unwritable(self) -> None:
        refuse_unwritable(self._path, self.what)

    def _old_labels(self) -> Iterator[Path]:
        if self._path.is_file():
            yield self._path

    def _finish(self) -> None:
        if self._file is not None:
            self._end(self._file)
            self._file.finish()
            self._file = None

    def _give_up(self) -> None:
        self._is_broken = True
        if self._file is not None:
            self._file.close()
            self._file = None
