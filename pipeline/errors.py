"""Errors: a caller's mistakes by kind, each an exception of its own.

    StreamdetError
    ├── ConfigError        (ValueError)    a configuration file, key, value or option is wrong
    ├── SourceError        (OSError)       a source cannot be opened, or broke while it was read
    │   ├── SourceRefusedError             a server that answers gives none: wrong password or path, no video
    │   └── LostFramingError               a connection that is there gives bytes that are no packets
    ├── ModelError         (ValueError)    an ONNX file cannot be used as a detector
    │   └── OutputError                    what a network returned for one frame means nothing, such as NaN for scores
    ├── DeviceError        (RuntimeError)  the device that was asked for cannot run the model
    ├── SinkError          (OSError)       a result cannot be written or shown
    ├── FrameError                         one frame cannot be processed; OutputError is one
    ├── FlowError          (RuntimeError)  a flow is put together wrongly, or a stage broke its law
    │   └── UnknownSourceError             a run has no source of that name
    └── MissingExtraError  (ImportError)   an optional package is not installed

Every message is one line that says what must hold, what came, where, and the way out.
"""

from __future__ import annotations

import errno
import unicodedata

_OF_MEMORY = (
    "failed to map segment",
    "cannot allocate memory",
    "failed to allocate",
    "bad_alloc",
    "insufficient memory",
)
_LONGEST = 1600  # characters of an error
_CONTROLS = ("Cc", "Zl", "Zp")  # Unicode's categories of control characters, and of ends of lines and paragraphs


class StreamdetError(Exception):
    """Base of every error that streamdet raises for a caller's mistake.

    As text it is one line that can be printed, whatever stood in the file, name or address that it quotes.
    """

    def __str__(self) -> str:
        return one_line(super().__str__())


class ConfigError(StreamdetError, ValueError):
    """A configuration file, key, value or option is wrong."""


class SourceError(StreamdetError, OSError):
    """A source cannot be opened, or broke while it was read."""


class SourceRefusedError(SourceError):
    """A server that answers does not give the source, for a wrong password or path, or sends something else."""


class LostFramingError(SourceError):
    """A connection that is there gives bytes that are no packets; the source can be opened again at once."""


class ModelError(StreamdetError, ValueError):
    """An ONNX file cannot be used as a detector."""


class FrameError(StreamdetError):
    """One frame cannot be processed; the next one may."""


class OutputError(ModelError, FrameError):
    """What a network returned for one frame means nothing, such as NaN for scores."""


class DeviceError(StreamdetError, RuntimeError):
    """The device that was asked for cannot run the model."""


class SinkError(StreamdetError, OSError):
    """A result cannot be written or shown."""


class FlowError(StreamdetError, RuntimeError):
    """A flow is put together wrongly, or a stage broke its law."""


class UnknownSourceError(FlowError):
    """A run has no source of that name."""


class MissingExtraError(StreamdetError, ImportError):
    """An optional package is not installed; the message names the command that installs it."""


def one_line(text: str) -> str:
    """A text without line ends and control characters, and without its middle where it is longer than anybody reads."""
    text = without_controls(text, " ")
    half = _LONGEST // 2
    return text if len(text) <= _LONGEST else f"{text[:half]} … {text[-half:]}"


def without_controls(text: str, substitute: str = "") -> str:
    """A text with another one in the place of each control character and end of a line, which could steer a terminal.

    >>> without_controls("door\\x1b[2J"), without_controls("two\\nlines", " "), without_controls("दरवाज़ा 門")
    ('door[2J', 'two lines', 'दरवाज़ा 門')
    """
    if text.isprintable():
        return text
    return "".join(substitute if unicodedata.category(letter) in _CONTROLS else letter for letter in text)


def shortage(error: BaseException) -> str | None:
    """In words, what the machine or a limit of the shell left too little of; None for any other error."""
    text = str(error).lower()
    if isinstance(error, MemoryError) or any(words in text for words in _OF_MEMORY):
        return "there is not enough memory; close other programs, raise ulimit -v, or take smaller pictures and batches"
    if "can't start new thread" in text:
        return "no further thread can be started; raise ulimit -u or -v, or set engine.threads lower"
    if isinstance(error, OSError) and error.errno == errno.EMFILE:
        return "no further file can be opened; raise ulimit -n, which must be at least some dozens"
    return None


def reason_of(error: Exception) -> str:
    """Why a file cannot be used, in words: without the number, the path and the codec that Python's errors name."""
    if isinstance(error, UnicodeDecodeError):
        return "it is not text in UTF-8"
    return str(getattr(error, "strerror", None) or error)


def first_line(error: BaseException) -> str:
    """The first line of its message, without ONNX Runtime's prefix `[ONNXRuntimeError] : 7 : NAME : `.

    The type's name for an error without a message.
    """
    text = str(error).strip()
    if text.startswith("[ONNXRuntimeError]"):
        text = text.split(" : ", 3)[-1]
    return text.splitlines()[0] if text else type(error).__name__
