"""Claims: a convention's reading of a foreign file, with its objection to outputs and its certainty."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Protocol

from pipeline.detector.facts import ModelFacts
from pipeline.detector.heads.hints import Hints
from pipeline.detector.heads.outputs import Outputs
from pipeline.detector.heads.recipes import Recipe
from pipeline.picture.detector_spec import DetectorSpec


class Certainty(IntEnum):
    """The certainty of a reading by graph, names and metadata, before a run on a picture."""

    UNLIKELY = 0  # no known exporter writes so: only a proof makes it win
    OPEN = 1  # as usual as others: it takes a proof, or a user's word
    SETTLED = 2


@dataclass(frozen=True, slots=True)
class Claim:
    """A reading of a file that fits its graph; runs on pictures have still to bear it out."""

    spec: DetectorSpec  # provenance: one reason an entry
    objection: Callable[[Outputs, DetectorSpec], str | None] = field(default=lambda outputs, spec: None)
    """The objection of the network's outputs to this reading, with the user's hints in its spec; or None."""
    certainty: Certainty = Certainty.SETTLED
    certainty_of_recipe: Certainty = Certainty.SETTLED  # which counts where readings are as certain as each other
    other_recipes: tuple[tuple[Recipe, Certainty], ...] = ()
    """Other ways to prepare a picture for the same outputs."""

    def with_other_recipes(self) -> Iterable[Claim]:
        """This claim, and one for each other way to prepare a picture."""
        yield dataclasses.replace(self, other_recipes=())
        without_recipe = dataclasses.replace(self.spec, provenance=self.spec.provenance[:-1])
        for recipe, certainty in () if self.spec.dtype == "uint8" else self.other_recipes:
            yield Claim(recipe.applied_to(without_recipe), self.objection, self.certainty, certainty)


class NotThisError(Exception):
    """The reason why a file is not of a convention. `is_near`: much of it fits, so that a user may want to know."""

    def __init__(self, reason: str, *, is_near: bool = False) -> None:
        super().__init__(reason)
        self.is_near = is_near


class Claims(Protocol):
    """Finds the readings of a file under one family of conventions."""

    def __call__(self, facts: ModelFacts, hints: Hints) -> Iterable[Claim]:
        """The likeliest first. Raises NotThisError, or ModelError from `spec_for`."""
