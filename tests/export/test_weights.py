"""Weights: found wherever training scripts keep them; code in a checkpoint is never run."""

from __future__ import annotations

import argparse
import datetime
import pickle
import uuid
from collections import OrderedDict, defaultdict, deque
from collections.abc import Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline.errors import ModelError

pytest.importorskip("torch", reason="the extra export is not installed")

import torch
from torch import Tensor, nn

from export.weights.loading import load_checkpoint, weights_hash


class Tiny(nn.Module):
    """A backbone, a batch norm with its counter, and a layer as wide as there are classes."""

    def __init__(self, num_classes: int = 3, *, seed: int = 0) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.backbone = nn.Conv2d(3, 4, 1)
        self.norm = nn.BatchNorm2d(4)
        self.classify = nn.Linear(4, num_classes)


def trained() -> dict[str, Tensor]:
    return Tiny(seed=1).state_dict()


def prefixed(state: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {prefix + name: value for name, value in state.items()}


def without_counters(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: value for name, value in state.items() if not name.endswith("num_batches_tracked")}


def saved(folder: Path, what: Any) -> Path:
    path = folder / "checkpoint.pt"
    torch.save(what, path)
    return path


CHECKPOINTS: dict[str, Any] = {
    "a state dict": trained(),
    "an ordered one": OrderedDict(trained()),
    "under model": {"model": trained(), "epoch": 3, "optimizer": {"lr": 0.1}},
    "under state_dict": {"state_dict": trained(), "epoch": 3},
    "under model_state_dict": {"model_state_dict": trained()},
    "averaged, before the others": {"model": Tiny(seed=2).state_dict(), "ema": {"module": trained(), "updates": 7}},
    "averaged by timm": {"state_dict": Tiny(seed=2).state_dict(), "state_dict_ema": trained()},
    "not averaged yet": {"model": trained(), "ema": None},
    "averaged nothing yet": {"model": trained(), "ema_state_dict": {}},
    "of data parallelism": prefixed(trained(), "module."),
    "compiled": prefixed(trained(), "_orig_mod."),
    "compiled in data parallelism": prefixed(trained(), "module._orig_mod."),
    "data parallelism of the compiled": {"model": prefixed(trained(), "_orig_mod.module.")},
    "without counters": without_counters(trained()),
    "of torchvision's and DETR's scripts": {"model": trained(), "args": argparse.Namespace(lr=0.02, path=Path("/x"))},
    "with numpy's numbers": {"model": trained(), "map": np.float64(0.5), "history": np.arange(3.0)},
    "with numpy's chance": {"model": trained(), "seed": np.random.default_rng(0), "old": np.random.RandomState(1)},
    "with a log": {"model": trained(), "log": defaultdict(list, loss=[1.0]), "last": deque([1], maxlen=3)},
    "with a path and a date": {"model": trained(), Path("/data"): datetime.datetime(2024, 1, 1, tzinfo=datetime.UTC)},
    "with other plain values": {
        "model": trained(),
        "all": (frozenset("a"), range(3), 1j, uuid.UUID(int=1), int, Decimal(1)),
    },
    "as numpy's arrays": {name: value.numpy() for name, value in trained().items()},
    "under weights": {"epoch": 3, "weights": trained()},
    "deep down": {"checkpoint": {"run": {"state": {"net": trained()}}}},
    "in a list": {"models": [{"model": trained()}]},
    "of Lightning": {"state_dict": prefixed(trained(), "model."), "hyper_parameters": {"lr": 1}},
    "of Lightning, with a loss": {"state_dict": {**prefixed(trained(), "model."), "loss.weight": torch.ones(4)}},
    "of Lightning, averaged": {
        "state_dict": {**prefixed(Tiny(seed=2).state_dict(), "model."), **prefixed(trained(), "model_ema.module.")}
    },
    "of swa_utils": {"n_averaged": torch.tensor(7), **prefixed(trained(), "module.")},
    "averaged, with its decay inside": {
        "model": Tiny(seed=2).state_dict(),
        "ema": {"decay": 0.99, "shadow": trained()},
    },
    "averaged deep down": {"train": {"model": Tiny(seed=2).state_dict(), "model_ema": {"state_dict": trained()}}},
    "averaged under a name of its own": {"model": Tiny(seed=2).state_dict(), "swa_model": trained()},
}


class Configuration(dict[str, Any]):
    """What a training script makes for itself."""


@pytest.mark.parametrize("what", CHECKPOINTS)
def test_weights_are_found(tmp_path: Path, what: str) -> None:
    module = Tiny()
    load_checkpoint(module, saved(tmp_path, CHECKPOINTS[what]))
    for name, value in without_counters(module.state_dict()).items():
        torch.testing.assert_close(value, trained()[name], rtol=0, atol=0)


def test_a_wrapper_of_the_module_need_not_be_in_the_checkpoint(tmp_path: Path) -> None:
    module = nn.ModuleDict({"model": Tiny()})
    load_checkpoint(module, saved(tmp_path, trained()))
    torch.testing.assert_close(module["model"].state_dict()["classify.weight"], trained()["classify.weight"])


def test_what_is_left_out_beside_a_prefix_is_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    load_checkpoint(Tiny(), saved(tmp_path, {**prefixed(trained(), "model."), "loss.weight": torch.ones(4)}))
    assert "1 tensors outside of the file, names after model. are left out" in caplog.text


def test_two_that_fit_and_differ_are_refused_by_name(tmp_path: Path) -> None:
    both = {"student": Tiny(seed=2).state_dict(), "teacher": trained()}
    with pytest.raises(ModelError, match=r"one set of weights .*\['student'\] and \['teacher'\] fit and differ"):
        load_checkpoint(Tiny(), saved(tmp_path, both))
    load_checkpoint(Tiny(), saved(tmp_path, {"student": trained(), "teacher": trained()}))


def test_a_checkpoint_that_holds_itself_is_read(tmp_path: Path) -> None:
    itself: dict[str, Any] = {"model": trained()}
    itself["parent"] = itself
    load_checkpoint(Tiny(), saved(tmp_path, itself))
    del itself["model"]
    with pytest.raises(ModelError, match="it holds parent"):
        load_checkpoint(Tiny(), saved(tmp_path, itself))


@pytest.mark.parametrize("zipped", [True, False])
def test_a_refusal_names_the_culprit_and_a_cure_that_works(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, zipped: bool
) -> None:
    monkeypatch.chdir(tmp_path)
    content = {"epoch": 3, "model": trained(), "config": Configuration(lr=1), "when": torch.save}
    torch.save(content, "c.pt", _use_new_zipfile_serialization=zipped)
    with pytest.raises(
        ModelError, match=r"\(tests.export.test_weights.Configuration, torch.serialization.save\)"
    ) as caught:
        load_checkpoint(Tiny(), Path("c.pt"))
    exec(str(caught.value).rpartition("on the training machine: ")[2], {"torch": torch})
    module = Tiny()
    load_checkpoint(module, Path("weights.pth"))
    assert weights_hash(module) == weights_hash(Tiny(seed=1))


def test_the_cure_of_a_whole_model_works_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for content in (Tiny(seed=1), {"model": Tiny(seed=1), "epoch": 3}):
        torch.save(content, "c.pt")
        with pytest.raises(ModelError, match=r"tests.export.test_weights.Tiny") as caught:
            load_checkpoint(Tiny(), Path("c.pt"))
        exec(str(caught.value).rpartition("on the training machine: ")[2], {"torch": torch})
        module = Tiny()
        load_checkpoint(module, Path("weights.pth"))
        assert weights_hash(module) == weights_hash(Tiny(seed=1))


def test_weights_are_found_in_safetensors(tmp_path: Path) -> None:
    safetensors = pytest.importorskip("safetensors.torch", reason="safetensors is not installed")
    path = tmp_path / "checkpoint.safetensors"
    safetensors.save_file(trained(), path)
    module = Tiny()
    load_checkpoint(module, path)
    assert weights_hash(module) == weights_hash(Tiny(seed=1))


class Evil:
    """Unpickling it writes a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return Path.write_text, (self.path, "the code ran")


@pytest.mark.parametrize("kind", ["zip", "legacy", "bare pickle"])
@pytest.mark.parametrize("suffix", [".pt", ".pth", ".ckpt", ""])
def test_code_in_a_checkpoint_is_not_run(tmp_path: Path, kind: str, suffix: str) -> None:
    proof, path = tmp_path / "proof", tmp_path / f"evil{suffix}"
    content = {"model": trained(), "extra": Evil(proof)}
    if kind == "bare pickle":
        path.write_bytes(pickle.dumps(content, protocol=2))
    else:
        torch.save(content, path, _use_new_zipfile_serialization=kind == "zip")
    with pytest.raises(ModelError, match=r"reading it would run code .*save model.state_dict\(\) instead"):
        load_checkpoint(Tiny(), path)
    assert not proof.exists()
    torch.load(path, weights_only=False) if kind != "bare pickle" else pickle.loads(path.read_bytes())
    assert proof.exists()  # it would have run


def test_code_in_a_newer_pickle_is_not_run(tmp_path: Path) -> None:
    proof, path = tmp_path / "proof", tmp_path / "evil.pt"
    path.write_bytes(pickle.dumps({"model": Evil(proof)}, protocol=5))
    with pytest.raises(ModelError, match=r"must be a PyTorch checkpoint: torch.save did not write it"):
        load_checkpoint(Tiny(), path)
    assert not proof.exists()


def test_a_whole_model_is_refused_because_reading_it_runs_code(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="must hold tensors only: reading it would run code"):
        load_checkpoint(Tiny(), saved(tmp_path, Tiny()))


def test_a_refusal_changes_no_weights(tmp_path: Path) -> None:
    module = Tiny(4)
    before = weights_hash(module)
    with pytest.raises(ModelError):
        load_checkpoint(module, saved(tmp_path, trained()))
    assert weights_hash(module) == before


def test_weights_of_other_classes_are_refused_with_both_shapes(tmp_path: Path) -> None:
    expected = (
        r"2 of another shape, such as classify.weight \[3, 4\] instead of \[4, 4\]; "
        r"--num-classes must be the number in training$"
    )
    with pytest.raises(ModelError, match=expected):
        load_checkpoint(Tiny(4), saved(tmp_path, trained()))


def test_missing_and_unknown_weights_are_counted_and_the_first_is_named(tmp_path: Path) -> None:
    state = trained()
    state["head.weight"] = state.pop("classify.weight")
    with pytest.raises(ModelError, match=r"1 missing, such as classify.weight; 1 unknown, such as head.weight"):
        load_checkpoint(Tiny(), saved(tmp_path, state))


@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
@pytest.mark.parametrize("content", [b"", b"a few words\n" * 20, b"PK\x03\x04" + bytes(50), bytes(200)])
def test_a_file_that_is_no_checkpoint_is_refused_as_such(tmp_path: Path, suffix: str, content: bytes) -> None:
    path = tmp_path / f"broken{suffix}"
    path.write_bytes(content)
    with pytest.raises(ModelError, match=rf"broken{suffix} must be a PyTorch checkpoint: .") as caught:
        load_checkpoint(Tiny(), path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("share", [0.2, 0.9])
def test_a_checkpoint_that_was_cut_off_is_refused_as_such(tmp_path: Path, share: float) -> None:
    path = saved(tmp_path, trained())
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    with pytest.raises(ModelError, match=r"checkpoint.pt must be a PyTorch checkpoint: ."):
        load_checkpoint(Tiny(), path)


def test_a_missing_file_says_what_is_taken(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"nowhere.pt: no such file; --checkpoint takes"):
        load_checkpoint(Tiny(), tmp_path / "nowhere.pt")


@pytest.mark.parametrize(
    ("what", "seen"),
    [
        ({"epoch": 3, "weights": {"lr": 0.1}}, "it holds epoch, weights"),
        ([1, 2], "it holds list"),
        (torch.zeros(2), "it holds Tensor"),
        ({}, "it holds $"),
        ({"model": {"epoch": 3}}, "it holds epoch"),
    ],
)
def test_a_checkpoint_without_a_state_dict_says_what_it_holds(tmp_path: Path, what: Any, seen: str) -> None:
    with pytest.raises(ModelError, match=f"must hold a state dict, alone or under one of .*; {seen}"):
        load_checkpoint(Tiny(), saved(tmp_path, what))


def test_the_hash_tells_weights_apart() -> None:
    assert weights_hash(Tiny(seed=1)) == weights_hash(Tiny(seed=1))
    assert weights_hash(Tiny(seed=1)) != weights_hash(Tiny(seed=2))
    other = Tiny(seed=1)
    with torch.no_grad():
        other.classify.bias[2] += 1e-7
    assert weights_hash(other) != weights_hash(Tiny(seed=1))


def test_the_hash_takes_names_and_types_into_account() -> None:
    assert weights_hash(Tiny(seed=1).half()) != weights_hash(Tiny(seed=1))
    assert weights_hash(nn.Sequential(Tiny(seed=1))) != weights_hash(Tiny(seed=1))
