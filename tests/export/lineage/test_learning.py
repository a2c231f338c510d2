import numpy as np
import torch
from torch import nn

from export.lineage.hog_svm import linear_svm, logistic_curve
from export.lineage.learning import Recipe, Training
from pipeline.testing import StepClock


def test_equal_seeds_give_equal_weights_without_a_budget() -> None:
    weights = []
    for _ in range(2):
        training = Training(seed=3)
        chance = training.chance()
        network = nn.Linear(4, 1)

        def loss(chance: np.random.Generator = chance, network: nn.Linear = network) -> torch.Tensor:
            outputs: torch.Tensor = network(torch.from_numpy(chance.normal(size=(8, 4))).float())
            return outputs.float().square().mean()

        training.learn("line", network, loss, Recipe(steps=5))
        weights.append(network.weight.detach())
    assert torch.equal(*weights)


def test_a_budget_takes_steps_away_and_never_adds_any() -> None:
    clock = StepClock()

    def steps(minutes: float | None) -> list[tuple[int, int]]:
        taken = []
        for step in Training(minutes=minutes, clock=clock).steps("part", 100):
            taken.append(step)
            clock.advance(1.0)
        return taken

    assert len(steps(None)) == len(steps(60)) == 100
    assert len(steps(0.5)) == 30
    assert steps(0.5)[-1] == (29, 30)


def test_a_linear_svm_separates_with_the_widest_margin() -> None:
    rows = torch.tensor([[2.0, 1], [2, -1], [-2, 1], [-2, -1]])
    weight, bias = linear_svm(rows, torch.tensor([1.0, 1, -1, -1]), decay=0.2)
    torch.testing.assert_close(weight, torch.tensor([0.5, 0.0]), atol=0.02, rtol=0)
    assert abs(bias.item()) < 0.02


def test_the_logistic_curve_is_that_of_the_margins() -> None:
    chance = torch.Generator().manual_seed(0)
    margins = torch.randn(20000, generator=chance) * 2
    is_right = torch.rand(20000, generator=chance) < (1.5 * margins - 1).sigmoid()
    slope, offset = logistic_curve(margins, is_right)
    assert abs(slope - 1.5) < 0.1
    assert abs(offset + 1) < 0.1


def test_without_margins_the_curve_still_rises() -> None:
    assert logistic_curve(torch.zeros(0), torch.zeros(0, dtype=torch.bool))[0] > 0
