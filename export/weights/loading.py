"""Weights: a checkpoint, in whatever structure a training script wrote it → the weights of a network."""

from __future__ import annotations

import hashlib
import logging
import pickle
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from export.weights.harmless import CodeError, load_without_code
from pipeline.errors import ModelError, first_line

logger = logging.getLogger(__name__)

# The keys under which training scripts keep the weights, the best first: authors evaluate the averaged ones.
_KEYS = (
    "state_dict_ema",
    "ema_state_dict",
    "model_ema",
    "ema",
    "state_dict",
    "model_state_dict",
    "model",
    "module",
    "net",
)
_AVERAGED = ("ema", "swa", "averaged", "avg", "shadow")
_DEEPEST = 8  # of dicts in dicts


def load_checkpoint(module: nn.Module, path: Path) -> None:
    """Put the weights of a checkpoint into a module, in place.

    Reads a state dict wherever a training script keeps it, averaged weights before others, with or without prefixes
    before the names, such as those of data parallelism, compilation and Lightning. Raises ModelError for a missing or
    broken file, for one that needs code to be unpickled, for weights that do not fit, with the first that do not, and
    for several that fit and differ.
    """
    expected = {name: value for name, value in module.state_dict().items() if isinstance(value, Tensor)}
    fits = [fit for state in _state_dicts(path) for fit in _fits(state, expected)]
    fitting = [fit for fit in fits if not fit.problems]
    if not fitting:
        best = min(fits, key=lambda fit: fit.num_problems)
        raise ModelError(
            f"{path} must hold the weights of this detector: {'; '.join(best.problems)}; "
            "--num-classes must be the number in training"
        )
    chosen = _best(fitting, path)
    if chosen.num_left_out:
        logger.warning("%s: %d tensors outside of %s are left out", path, chosen.num_left_out, chosen.path)
    module.load_state_dict(chosen.weights, strict=False)


def weights_hash(module: nn.Module) -> str:
    """SHA-256 over the names and values of all weights."""
    digest = hashlib.sha256()
    for name, value in sorted(module.state_dict().items()):
        digest.update(f"{name} {list(value.shape)} {value.dtype}".encode())
        digest.update(value.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


@dataclass(frozen=True, slots=True)
class _State:
    """Tensors by name, and the keys under which a checkpoint holds them."""

    keys: tuple[str, ...]
    tensors: Mapping[str, Tensor]


_AVERAGE, _USUAL, _OTHER = 0, 1, 2


@dataclass(frozen=True, slots=True)
class _Fit:
    """A way to read a state as the weights of a module."""

    path: str  # in the checkpoint, for messages
    rank: tuple[int, int, int]  # the least is best: averaged, under a usual key, or another; by key; by depth
    weights: dict[str, Tensor]
    problems: tuple[str, ...]
    num_problems: int
    num_left_out: int  # tensors outside of the prefix


def _best(fitting: Sequence[_Fit], path: Path) -> _Fit:
    """The fit of the least rank. Raises ModelError if several fit under no usual key and differ."""
    best = min(fitting, key=lambda fit: fit.rank)
    rivals = [fit for fit in fitting if fit.rank[0] == best.rank[0] == _OTHER]
    for other in rivals:
        if not _are_alike(other.weights, best.weights):
            raise ModelError(
                f"{path} must hold one set of weights for this detector, {best.path} and {other.path} fit and "
                f"differ; save one of them, as torch.save({{'model': weights}}, 'weights.pth')"
            )
    return best


def _fits(state: _State, expected: Mapping[str, Tensor]) -> Iterator[_Fit]:
    """One fit for every prefix of names, in the checkpoint or in the module, under which some weights fit."""
    needed = [name for name in expected if not name.endswith("num_batches_tracked")] or list(expected)
    for prefix in ("", *_prefixes(state, needed)):
        yield _fit(state, expected, prefix=prefix, dropped="")
    firsts = {name.split(".")[0] + "." for name in needed}
    wrapper = firsts.pop() if len(firsts) == 1 else ""  # of the module, and not in the checkpoint
    if wrapper and not any(name.startswith(wrapper) for name in state.tensors):
        yield _fit(state, expected, prefix="", dropped=wrapper)


def _prefixes(state: _State, needed: Sequence[str]) -> list[str]:
    """What stands before the first or the last needed name in a checkpoint."""
    probes = {needed[0], needed[-1]} if needed else set()
    prefixes = {name.removesuffix(probe) for name in state.tensors for probe in probes if name.endswith(probe)}
    return sorted(prefix for prefix in prefixes if prefix.endswith("."))


def _fit(state: _State, expected: Mapping[str, Tensor], *, prefix: str, dropped: str) -> _Fit:
    inside = {
        dropped + name.removeprefix(prefix): value for name, value in state.tensors.items() if name.startswith(prefix)
    }
    problems = _problems(inside, expected)
    path = "".join(f"[{key!r}]" for key in state.keys) or "the file"
    return _Fit(
        f"{path}, names after {prefix}" if prefix else path,
        _rank(state.keys, prefix),
        inside,
        tuple(f"{len(names)} {problem}, such as {names[0]}" for problem, names in problems.items() if names),
        sum(map(len, problems.values())),
        _num_weights(state.tensors) - _num_weights(inside),
    )


def _problems(weights: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> dict[str, list[str]]:
    """The names of a module's weights that are missing, unknown or of another shape."""
    return {
        "missing": [name for name in expected if name not in weights and not name.endswith("num_batches_tracked")],
        "unknown": [name for name in weights if name not in expected],
        "of another shape": [
            f"{name} {list(weights[name].shape)} instead of {list(tensor.shape)}"
            for name, tensor in expected.items()
            if name in weights and weights[name].shape != tensor.shape
        ],
    }


def _rank(keys: tuple[str, ...], prefix: str) -> tuple[int, int, int]:
    """`_Fit.rank` of the tensors under these keys of a checkpoint, whose names have this prefix."""
    words = [*keys, *prefix.lower().split(".")]
    key_ranks = [_KEYS.index(key) for key in keys if key in _KEYS]
    if any(mark in word.lower() for word in words for mark in _AVERAGED):
        kind = _AVERAGE
    else:
        kind = _USUAL if (key_ranks or not keys) and _is_usual(prefix) else _OTHER
    return kind, min(key_ranks, default=len(_KEYS)), len(keys) + len(prefix)


def _num_weights(tensors: Mapping[str, Tensor]) -> int:
    """The number of tensors that are not counters."""
    return sum(tensor.numel() > 1 for tensor in tensors.values())


def _is_usual(prefix: str) -> bool:
    return all(part in ("", "module", "_orig_mod", "model", "net", "network", "detector") for part in prefix.split("."))


def _are_alike(one: Mapping[str, Tensor], other: Mapping[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(value, other[name]) for name, value in one.items())


def _state_dicts(path: Path) -> list[_State]:
    """Everything in a checkpoint that may be weights. Raises ModelError if there is nothing."""
    loaded = _load(path)
    states = list(_search(loaded, (), set()))
    if not states:
        for key in _KEYS:
            loaded = loaded[key] if isinstance(loaded, Mapping) and isinstance(loaded.get(key), Mapping) else loaded
        seen = ", ".join(map(str, list(loaded)[:8])) if isinstance(loaded, Mapping) else type(loaded).__name__
        raise ModelError(f"{path} must hold a state dict, alone or under one of {', '.join(_KEYS)}; it holds {seen}")
    return states


def _search(value: object, keys: tuple[str, ...], visited: set[int]) -> Iterator[_State]:
    if id(value) in visited or len(keys) > _DEEPEST:  # a dict may hold itself
        return
    entries = _entries(value)
    if entries:
        visited.add(id(value))
    if isinstance(value, Mapping):
        tensors = {name: _tensor(entry) for name, entry in value.items() if isinstance(name, str)}
        state = {name: tensor for name, tensor in tensors.items() if tensor is not None}
        if state:
            yield _State(keys, state)
    for name, entry in entries:
        yield from _search(entry, (*keys, str(name)), visited)


def _entries(value: object) -> list[tuple[object, object]]:
    """The entries of a dict, a list or a tuple with their keys or indices; nothing for any other value."""
    if isinstance(value, Mapping):
        return list(value.items())
    return list(enumerate(value)) if isinstance(value, list | tuple) else []


def _tensor(value: object) -> Tensor | None:
    if isinstance(value, np.ndarray):
        return torch.from_numpy(value.copy()) if value.dtype.kind in "fiub" else None
    return value if isinstance(value, Tensor) else None


def _load(path: Path) -> object:
    if not path.is_file():
        raise ModelError(f"{path}: no such file; --checkpoint takes a PyTorch checkpoint or a .safetensors file")
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            return load_file(path)
        return load_without_code(path)
    except CodeError as error:
        names = ", ".join(error.names[:3]) + (" …" if len(error.names) > 3 else "")
        raise ModelError(
            f"{path} must hold tensors only: reading it would run code from the file ({names}), which is refused; "
            f"save model.state_dict() instead of the whole model, or run on the training machine: {error.cure}"
        ) from error
    except pickle.UnpicklingError as error:
        raise ModelError(f"{path} must {_refusal(error)}") from error
    except ImportError as error:
        raise ModelError(f"{path}: reading it needs safetensors: pip install safetensors") from error
    except Exception as error:  # a broken zip, a truncated file, a text file: all different exceptions
        raise ModelError(f"{path} must be a PyTorch checkpoint: {first_line(error)}") from error


def _refusal(error: pickle.UnpicklingError) -> str:
    if "Unsupported operand" in str(error):
        return "be a PyTorch checkpoint: torch.save did not write it"
    return (
        f"hold tensors only: reading it would run code from the file, which is refused ({first_line(error)}); "
        "save model.state_dict() instead of the whole model"
    )
