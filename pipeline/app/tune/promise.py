"""Promise: the knob that is turned whatever the budget of `tune`, chosen by what limits the defaults."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pipeline.measure.measured import Measured
from pipeline.measure.search import Knob, applied

_OF_NETWORK = ("device", "model", "cores", "batch", "spinning", "queues")
# A stage of one thread gains by what it does not share with the network, and one that waits by more that waits for it.
_OF_OTHER_STAGES = ("cores", "spinning", "queues", "device", "model", "batch")
_OF_NO_STAGE = ("queues", "cores", "batch", "device", "model", "spinning")


@dataclass(frozen=True, slots=True)
class Promise:
    """The knob, and what limits the defaults."""

    knob: Knob
    limited_by: str  # a role, such as detect; no stage; or, where the run keeps up with a camera, the network's latency

    def __str__(self) -> str:
        return f"{self.knob.name}, as the defaults are limited by {self.limited_by}"


def promise_of(measured: Measured, knobs: Sequence[Knob], *, is_live: bool) -> Promise | None:
    """The first knob, in the order that what limits the defaults gives, that can be turned; None: none can.

    measured: of the defaults. Where a network limits, another device or file promises most, then how inferences share
    the cores; where another stage does, the share of the cores that is left to it; where none is busy, longer queues.
    A live run that keeps up with its source still has a latency, and most of that is the network's.
    """
    role = measured.limiting_role
    if is_live and role == "source":
        role = "the latency of the network"
    elif role in ("waiting", "nothing"):
        role = "no stage"
    orders = {"detect": _OF_NETWORK, "the latency of the network": _OF_NETWORK, "no stage": _OF_NO_STAGE}
    order = orders.get(role, _OF_OTHER_STAGES)
    by_name = {knob.name: knob for knob in knobs}
    for name in order:
        if name in by_name and any(applied({}, change) for change in by_name[name].changes({})):
            return Promise(by_name[name], role)
    return None
