"""Checkpoints without their code: a file of torch.save → its tensors, its plain values and stand-ins.

Training scripts save their arguments, paths and dates beside the weights. torch.load with weights_only calls only the
names on its list; those on ours are not called either: an empty stand-in replaces them. Only numpy's arrays are
built, because they may be the weights.
"""

from __future__ import annotations

import importlib
import pickle
import re
import warnings
from collections import OrderedDict
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import torch

_MOST_TYPES = 200  # in one file
_UNKNOWN = re.compile(r"GLOBAL (\S+) was not an allowed global|Trying to load unsupported GLOBAL (\S+) whose module")


StandIn = Callable[..., object]
"""Replaces a class or function that a file names."""


class CodeError(Exception):
    """A checkpoint needs code of its own. `names`: of that code; `cure`: Python that saves the weights without it."""

    def __init__(self, names: tuple[str, ...], cure: str) -> None:
        super().__init__(", ".join(names))
        self.names = names
        self.cure = cure


class _Value:
    """Stands in for a value that nothing uses, such as a date; it may be a key of a dict."""

    def __init__(self, *_: object) -> None: ...

    def __setstate__(self, state: object) -> None: ...


def _mapping(*_: object) -> OrderedDict[object, object]:
    """Stands in for an object with attributes or entries, which are filled in."""
    return OrderedDict()


class _Mapping:
    """The same for an object that __new__ makes."""

    def __new__(cls, *_: object) -> OrderedDict[object, object]:  # type: ignore[misc]  # on purpose another class
        return OrderedDict()


def _list(items: Iterable[object] = (), *_: object) -> list[object]:
    return list(items)


_PATHS = ("Path", "PosixPath", "WindowsPath", "PurePath", "PurePosixPath", "PureWindowsPath")
_VALUES = {
    "pathlib": _PATHS,
    "pathlib._local": _PATHS,  # Python 3.13's
    "datetime": ("datetime", "date", "time", "timedelta", "timezone"),
    "zoneinfo": ("ZoneInfo._unpickle",),
    "uuid": ("UUID", "SafeUUID"),
    "decimal": ("Decimal",),
    "fractions": ("Fraction",),
    "time": ("struct_time",),
    "re": ("_compile",),
    "builtins": ("slice", "range", "frozenset", "list", "dict", "int", "float", "str", "tuple", "bool", "bytes"),
}
_MAPPINGS = ("argparse.Namespace", "types.SimpleNamespace", "collections.defaultdict", "collections.ChainMap")
# Packages whose values are settings, logs and random states, never weights.
_SETTINGS = ("addict", "box", "easydict", "fvcore", "hydra", "ml_collections", "munch", "omegaconf", "yacs")
_PACKAGES = frozenset((*_SETTINGS, "lightning", "lightning_fabric", "mmcv", "mmengine", "pytorch_lightning"))
_REBUILT = ("_reconstruct", "scalar", "_frombuffer")


def load_without_code(path: Path) -> object:
    """The content of a checkpoint, its tensors on the CPU; no code from the file is run.

    Raises CodeError for a file that needs its code, pickle.UnpicklingError for one that torch.save did not write, and
    the exceptions of torch.load for a broken one.
    """
    unknown: list[str] = []
    try:
        loaded = _load_adding_stand_ins(path, unknown)
    except Exception as error:
        if not unknown:
            raise
        raise CodeError(tuple(unknown), _cure(path, None)) from error
    if unknown:
        raise CodeError(tuple(unknown), _cure(path, loaded))
    return loaded


def _load_adding_stand_ins(path: Path, unknown: list[str]) -> object:
    """Load with a stand-in for every name that torch refuses; those that are not harmless go into `unknown`.

    With a stand-in, the rest of the file shows further code, and where the weights are.
    """
    stand_ins = _first_stand_ins()
    most = len(stand_ins) + _MOST_TYPES
    while True:
        try:
            return _load(path, stand_ins)
        except pickle.UnpicklingError as error:
            match = _UNKNOWN.search(str(error))
            if match is None:
                raise
            name = match[1] or match[2]
            if name in stand_ins or len(stand_ins) > most:
                raise
            if not _is_harmless(name):
                unknown.append(name)
                if match[2]:  # torch refuses these even with a stand-in
                    raise
            stand_ins[name] = _Value if name.startswith("numpy.") else _Mapping


def _load(path: Path, stand_ins: dict[str, StandIn]) -> object:
    with (
        warnings.catch_warnings(),
        torch.serialization.safe_globals([(value, key) for key, value in stand_ins.items()]),
    ):
        warnings.simplefilter("ignore")  # torch warns before it fails
        loaded: object = torch.load(path, map_location="cpu", weights_only=True)
        return loaded


def _first_stand_ins() -> dict[str, StandIn]:
    stand_ins: dict[str, StandIn] = {f"{module}.{name}": _Value for module, names in _VALUES.items() for name in names}
    stand_ins |= dict.fromkeys(_MAPPINGS, _mapping)
    stand_ins["argparse.Namespace"] = stand_ins["types.SimpleNamespace"] = _Mapping
    stand_ins["collections.deque"] = _list
    core = importlib.import_module("numpy._core.multiarray" if hasattr(np, "_core") else "numpy.core.multiarray")
    for module in ("numpy.core.multiarray", "numpy._core.multiarray", "numpy._core.numeric", "numpy.core.numeric"):
        stand_ins |= {f"{module}.{name}": getattr(core, name) for name in _REBUILT if hasattr(core, name)}
    stand_ins |= {"numpy.ndarray": np.ndarray, "numpy.dtype": np.dtype}
    stand_ins |= {f"numpy.dtypes.{name}": getattr(np.dtypes, name) for name in dir(np.dtypes) if name.endswith("DType")}
    return stand_ins


def _is_harmless(name: str) -> bool:
    return name.partition(".")[0] in _PACKAGES or name.startswith("numpy.random.")


def _cure(path: Path, loaded: object) -> str:
    """Python that saves only the weights, for the training machine; `loaded` shows where they are."""
    if loaded is None:
        return f"checkpoint = torch.load({path.name!r}, weights_only=False), and torch.save of the weights in it alone"
    keys, value = _weights_in(loaded)
    is_module = isinstance(value, dict) and "_modules" in getattr(value, "__dict__", {})
    state = ".state_dict()" if is_module or not keys else ""
    return f"torch.save(torch.load({path.name!r}, weights_only=False){keys}{state}, 'weights.pth')"


def _weights_in(loaded: object) -> tuple[str, object]:
    """The keys, as Python, that lead to the dict or module with the weights, and that value."""
    keys, value = "", loaded
    for _ in range(4):
        if not isinstance(value, dict) or any(isinstance(entry, torch.Tensor) for entry in value.values()):
            break
        key = next((key for key, entry in value.items() if _holds_tensors(entry)), None)
        if key is None or key in ("_parameters", "_buffers", "_modules"):
            break
        keys, value = f"{keys}[{key!r}]", value[key]
    return keys, value


def _holds_tensors(value: object, depth: int = 0) -> bool:
    if isinstance(value, torch.Tensor):
        return True
    if depth > 8 or not isinstance(value, dict):
        return False
    inner = (*value.values(), *vars(value).values()) if hasattr(value, "__dict__") else tuple(value.values())
    return any(_holds_tensors(entry, depth + 1) for entry in inner)
