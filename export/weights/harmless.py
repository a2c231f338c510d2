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
from pathlib import Path
from typing import Any

import numpy as np
import torch

_MOST_TYPES = 200  # in one file
_UNKNOWN = re.compile(r"GLOBAL (\S+) was not an allowed global|Trying to load unsupported GLOBAL (\S+) whose module")


class CodeError(Exception):
    """A checkpoint needs code of its own. `names`: of that code; `cure`: Python that saves the weights without it."""

    def __init__(self, names: tuple[str, ...], cure: str) -> None:
        super().__init__(", ".join(names))
        self.names = names
        self.cure = cure


class _Value:
    """Stands in for a value that nothing uses, such as a date; it may be a key of a dict."""

    def __init__(self, *_: Any) -> None: ...

    def __setstate__(self, state: Any) -> None: ...


def _mapping(*_: Any) -> OrderedDict[Any, Any]:
    """Stands in for an object with attributes or entries, which are filled in."""
    return OrderedDict()


class _Mapping:
    """The same for an object that __new__ makes."""

    def __new__(cls, *_: Any) -> Any:
        return OrderedDict()


def _list(items: Any = (), *_: Any) -> list[Any]:
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


def load_without_code(path: Path) -> Any:
    """The content of a checkpoint; no code from the file is run.

    Raises CodeError for a file that needs its code, pickle.UnpicklingError for one that torch.save did not write, and
    the exceptions of torch.load for a broken one.
    """
    stand_ins = _first_stand_ins()
    unknown: list[str] = []
    while True:
        try:
            loaded = _load(path, stand_ins)
            break
        except pickle.UnpicklingError as error:
            match = _UNKNOWN.search(str(error))
            name = "" if match is None else match[1] or match[2]
            if not name or name in stand_ins or len(stand_ins) > _MOST_TYPES + len(_first_stand_ins()):
                if not unknown:
                    raise
                raise CodeError(tuple(unknown), _cure(path, None)) from error
            if not _is_harmless(name):
                unknown.append(name)
                if match is not None and match[2]:  # torch refuses these even with a stand-in
                    raise CodeError(tuple(unknown), _cure(path, None)) from error
            # With a stand-in, the rest of the file shows further code, and where the weights are.
            stand_ins[name] = _Value if name.startswith("numpy.") else _Mapping
        except Exception as error:
            if not unknown:
                raise
            raise CodeError(tuple(unknown), _cure(path, None)) from error
    if unknown:
        raise CodeError(tuple(unknown), _cure(path, loaded))
    return loaded


def _load(path: Path, stand_ins: dict[str, Any]) -> Any:
    with (
        warnings.catch_warnings(),
        torch.serialization.safe_globals([(value, key) for key, value in stand_ins.items()]),
    ):
        warnings.simplefilter("ignore")  # torch warns before it fails
        return torch.load(path, map_location="cpu", weights_only=True)


def _first_stand_ins() -> dict[str, Any]:
    stand_ins: dict[str, Any] = {
        f"{module}.{name}": _Value for module, names in _VALUES.items() for name in names
    } | dict.fromkeys(_MAPPINGS, _mapping)
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


def _cure(path: Path, loaded: Any) -> str:
    """Python that saves only the weights, for the training machine; `loaded` shows where they are."""
    if loaded is None:
        return f"checkpoint = torch.load({path.name!r}, weights_only=False), and torch.save of the weights in it alone"
    inside, value = "", loaded
    for _ in range(4):
        if not isinstance(value, dict) or any(isinstance(entry, torch.Tensor) for entry in value.values()):
            break
        key = next((key for key, entry in value.items() if _holds_tensors(entry)), None)
        if key is None or key in ("_parameters", "_buffers", "_modules"):
            break
        inside, value = f"{inside}[{key!r}]", value[key]
    is_module = isinstance(value, dict) and "_modules" in getattr(value, "__dict__", {})
    state = ".state_dict()" if is_module or not inside else ""
    return f"torch.save(torch.load({path.name!r}, weights_only=False){inside}{state}, 'weights.pth')"


def _holds_tensors(value: Any, depth: int = 0) -> bool:
    if isinstance(value, torch.Tensor):
        return True
    if depth > 8 or not isinstance(value, dict):
        return False
    inner = (*value.values(), *vars(value).values()) if hasattr(value, "__dict__") else tuple(value.values())
    return any(_holds_tensors(entry, depth + 1) for entry in inner)
