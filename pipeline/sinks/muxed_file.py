"""Muxed file: the bytes of a muxer → a file that has all of them, or a beginning of them and the error."""

from __future__ import annotations

import errno
from pathlib import Path

from pipeline.whole_file import write_all


class MuxedFile:
    """What PyAV's muxer writes into, instead of opening a path itself.

    libav forgets an error in the last fragment of an MP4, takes a write of a part for one of the whole, and PyAV leaves
    the descriptor open where a header or the end cannot be written. After an error nothing more is written, so
    that what is there plays up to it. Raises OSError if the file cannot be opened.
    """

    def __init__(self, path: Path) -> None:
        self.name = str(path)  # in PyAV's errors
        self.failure: OSError | None = None
        """The first error of a write; PyAV may have raised it, too."""
        self._file = path.open("wb", buffering=0)

    def write(self, data: bytes) -> int:
        """Write all of it. Returns its length, or libav's number of an error, which is negative; raises nothing."""
        try:
            if self.failure is None:
                write_all(self._file, data)
        except OSError as error:
            self.failure = error
        return len(data) if self.failure is None else -(self.failure.errno or errno.EIO)

    def seek(self, offset: int, whence: int = 0) -> int:
        """As of any file."""
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        """As of any file."""
        return self._file.tell()

    def seekable(self) -> bool:
        """Whether it is not a pipe, in which nothing can be written later."""
        return self._file.seekable()

    def close(self) -> None:
        """Close it. May be called more than once."""
        self._file.close()
