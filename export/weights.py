"""Where do a network's weights come from, and may they be trusted?"""

from __future__ import annotations

import hashlib
import pickle
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from pipeline.detector.providers import first_line
from pipeline.errors import ModelError

# Under which keys training scripts keep the weights, the best first: averaged ones are what their authors evaluate.
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


def load_checkpoint(module: nn.Module, path: Path) -> None:
    """Put the weights of a checkpoint into a module, in place.

    Reads a state dict, or one under a usual key of a training script, with or without the prefixes of data
    parallelism and compilation. Raises ModelError for a missing or broken file, one that needs code to be unpickled,
    and weights that do not fit, naming the first that do not.
    """
    state = _without_prefixes(_state_dict(path))
    expected = module.state_dict()
    missing = [name for name in expected if name not in state and not name.endswith("num_batches_tracked")]
    strange = [name for name in state if name not in expected]
    other_shapes = [
        f"{name} {list(state[name].shape)} instead of {list(expected[name].shape)}"
        for name in expected
        if name in state and state[name].shape != expected[name].shape
    ]
    if missing or strange or other_shapes:
        found = [
            *(f"{len(each)} {what}, such as {each[0]}" for what, each in _kinds(missing, strange, other_shapes) if each)
        ]
        raise ModelError(
            f"{path} must hold the weights of this detector: {'; '.join(found)}; "
            "--num-classes must be as it was in training"
        )
    module.load_state_dict(state, strict=False)


def weights_hash(module: nn.Module) -> str:
    """SHA-256 over the names and values of all weights, which tells one checkpoint from another."""
    digest = hashlib.sha256()
    for name, value in sorted(module.state_dict().items()):
        digest.update(f"{name} {list(value.shape)} {value.dtype}".encode())
        digest.update(value.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def _kinds(missing: list[str], strange: list[str], other_shapes: list[str]) -> list[tuple[str, list[str]]]:
    return [("missing", missing), ("unknown", strange), ("of another shape", other_shapes)]


def _state_dict(path: Path) -> Mapping[str, Tensor]:
    if not path.is_file():
        raise ModelError(f"{path}: no such file; --checkpoint takes a PyTorch checkpoint or a .safetensors file")
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            loaded: Any = load_file(path)
        else:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # about what it then fails to read
                loaded = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        if "Unsupported operand" in str(error):
            raise ModelError(f"{path} must be a PyTorch checkpoint: it is nothing that torch.save writes") from error
        raise ModelError(
            f"{path} must hold tensors only: reading it would run code that it brings along, which is refused; "
            "save model.state_dict() instead of the whole model"
        ) from error
    except ImportError as error:
        raise ModelError(f"{path}: reading it needs safetensors: pip install safetensors") from error
    except Exception as error:  # a broken zip, a cut file, a text file: each has its own exception
        raise ModelError(f"{path} must be a PyTorch checkpoint: {first_line(error)}") from error
    while isinstance(loaded, Mapping):
        if loaded and all(isinstance(value, Tensor) for value in loaded.values()):
            return loaded
        inner = next((loaded[key] for key in _KEYS if isinstance(loaded.get(key), Mapping) and loaded[key]), None)
        if inner is None:
            break
        loaded = inner
    seen = ", ".join(map(str, list(loaded)[:8])) if isinstance(loaded, Mapping) else type(loaded).__name__
    raise ModelError(f"{path} must hold a state dict, alone or under one of {', '.join(_KEYS)}; it holds {seen}")


def _without_prefixes(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    names = dict(state)
    for prefix in ("module.", "_orig_mod.", "module."):  # compiled before or after it was made parallel
        if all(name.startswith(prefix) for name in names):
            names = {name.removeprefix(prefix): value for name, value in names.items()}
    return names
