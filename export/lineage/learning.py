"""Learning: a network, a loss and scenes → the trained network, within a budget of minutes."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor, nn

OnStep = Callable[[str, int, int], None]
"""Is called with the name of a part of the work, the steps that are done, and all steps of that part."""

_WARM_UP_SHARE = 0.05  # of the steps, with a rising learning rate
_TIMED_STEPS = 8  # of which the first two, slower than the rest, are left out
_LARGEST_NORM = 10.0


def no_report(part: str, done: int, total: int) -> None:
    """An `OnStep` that does nothing."""


@dataclass(frozen=True, slots=True)
class Recipe:
    """How one network learns: AdamW, with a learning rate that rises, then falls as a cosine to 0.

    share: of the budget of its system, where that learns in several parts.
    """

    steps: int
    learning_rate: float = 2e-3
    weight_decay: float = 1e-4
    share: float = 1.0


@dataclass(frozen=True, slots=True)
class Training:
    """What a system may spend, and how it says where it is.

    minutes: for the system as a whole; None: as many steps as its recipe has, which makes equal seeds give equal
    weights. A budget only ever takes steps away.
    """

    minutes: float | None = None
    seed: int = 0
    on_step: OnStep = no_report
    clock: Callable[[], float] = field(default=time.monotonic, repr=False)

    def chance(self) -> np.random.Generator:
        """A new generator of this seed, with which PyTorch's is set as well."""
        torch.manual_seed(self.seed)
        return np.random.default_rng(self.seed)

    def steps(self, part: str, num_steps: int, *, share: float = 1.0) -> Iterator[tuple[int, int]]:
        """0, 1, … with the number of all steps, which falls to what the budget has room for once a step was timed."""
        began = timed_from = self.clock()
        step = 0
        while step < num_steps:
            if self.minutes is not None and step == 2:
                timed_from = self.clock()
            if self.minutes is not None and step == _TIMED_STEPS:
                now = self.clock()
                rest = self.minutes * 60 * share - (now - began)
                step_seconds = max((now - timed_from) / (_TIMED_STEPS - 2), 1e-9)
                num_steps = min(num_steps, step + max(1, int(rest / step_seconds)))
            yield step, num_steps
            step += 1
            self.on_step(part, step, num_steps)

    def learn(self, part: str, network: nn.Module, loss_of_batch: Callable[[], Tensor], recipe: Recipe) -> None:
        """Train the parameters of a network that require gradients, in place.

        loss_of_batch: draws a batch and returns its loss; it runs with products in bfloat16, half the time on
        processors that have them, so that losses are computed from `.float()` outputs.
        """
        parameters = [weight for weight in network.parameters() if weight.requires_grad]
        optimiser = torch.optim.AdamW(parameters, lr=recipe.learning_rate, weight_decay=recipe.weight_decay)
        network.train()
        for step, num_steps in self.steps(part, recipe.steps, share=recipe.share):
            for group in optimiser.param_groups:
                group["lr"] = recipe.learning_rate * _rate(step, num_steps)
            with torch.autocast("cpu", torch.bfloat16):
                loss = loss_of_batch()
            optimiser.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            nn.utils.clip_grad_norm_(parameters, _LARGEST_NORM)
            optimiser.step()
        network.eval()


def _rate(step: int, num_steps: int) -> float:
    """The share of the learning rate at a step."""
    warm_up = max(1, round(_WARM_UP_SHARE * num_steps))
    return min((step + 1) / warm_up, 1.0) * 0.5 * (1 + math.cos(math.pi * step / num_steps))


def pixels_of(pictures: Iterable[np.ndarray[tuple[int, ...], np.dtype[np.uint8]]]) -> Tensor:
    """Pictures uint8 [h, w, 3] → float [N, 3, h, w] in -1..1, as `lineage_spec` has it."""
    return torch.from_numpy(np.stack(list(pictures))).permute(0, 3, 1, 2).float() / 127.5 - 1


@contextmanager
def threads(number: int | None) -> Iterator[None]:
    """PyTorch with as many threads, None: one for each core that this process may use; then as before."""
    before = torch.get_num_threads()
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else before
    torch.set_num_threads(number or cores)
    try:
        yield
    finally:
        torch.set_num_threads(before)
