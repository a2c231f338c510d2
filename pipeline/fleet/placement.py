"""Placement: cameras with their models and costs, and workers → which worker runs which camera, and which should move.

A worker's load is the cost of its cameras, in cores, by the cores that it has. Cameras of one model fill one worker up
to the load that all would have if it were even, and then the next, so that they share a network; within a model the
largest come first (R. Graham, Bounds on multiprocessing timing anomalies, 1969).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import fmean

_UNEVEN = 0.25  # of the mean load, by which two workers may differ before a camera moves
_LARGEST_SHARE = 0.75  # of the difference, that a camera may have which moves: a larger one would soon move back
_ASSUMED_COST = 1.0  # cores, where nothing has been measured; only ratios count then
_LEAST_COST = 0.01  # so that cameras which cost next to nothing are spread as well


@dataclass(frozen=True, slots=True)
class PlacedCamera:
    """A camera to be placed. cost: in cores, None: not measured yet."""

    name: str
    model: str
    cost: float | None = None


@dataclass(frozen=True, slots=True)
class Move:
    """A camera that another worker should have."""

    camera: str
    source: str
    target: str


@dataclass(slots=True)
class _Loaded:
    """A worker while cameras are placed on it."""

    name: str
    cores: float
    costs: dict[str, float] = field(default_factory=dict)
    models: dict[str, int] = field(default_factory=dict)  # cameras of each

    @property
    def load(self) -> float:
        return sum(self.costs.values()) / self.cores

    def add(self, camera: PlacedCamera, cost: float) -> None:
        self.costs[camera.name] = cost
        self.models[camera.model] = self.models.get(camera.model, 0) + 1

    def remove(self, camera: PlacedCamera) -> None:
        del self.costs[camera.name]
        self.models[camera.model] -= 1
        if not self.models[camera.model]:
            del self.models[camera.model]


def place(
    new: Iterable[PlacedCamera], placed: Mapping[str, Sequence[PlacedCamera]], cores: Mapping[str, float]
) -> dict[str, str]:
    """The worker of each new camera; none of any where there is no worker.

    placed: the cameras of each worker. cores: of all workers, whether they have cameras or not.
    """
    new = list(new)
    costs = _costs([*new, *(camera for cameras in placed.values() for camera in cameras)])
    workers = _loaded(placed, cores, costs)
    if not workers:
        return {}
    even_load = sum(costs.values()) / sum(cores.values())
    targets: dict[str, str] = {}
    for camera in sorted(new, key=lambda camera: (camera.model, -costs[camera.name], camera.name)):
        best = min(workers, key=lambda worker: _rank(worker, camera, costs[camera.name], even_load))
        best.add(camera, costs[camera.name])
        targets[camera.name] = best.name
    return targets


def moves(
    placed: Mapping[str, Sequence[PlacedCamera]], cores: Mapping[str, float], *, movable: Iterable[str], most: int
) -> list[Move]:
    """The cameras that should move so that loads are even, the most useful first; at most `most`.

    movable: cameras that may. None moves for less than a quarter of the mean load.
    """
    costs = _costs([camera for cameras in placed.values() for camera in cameras])
    workers = _loaded(placed, cores, costs)
    left = {camera.name: camera for cameras in placed.values() for camera in cameras}
    left = {name: left[name] for name in movable if name in left}
    planned: list[Move] = []
    while len(planned) < most and len(workers) > 1:
        fullest, emptiest = max(workers, key=lambda one: one.load), min(workers, key=lambda one: one.load)
        gap = fullest.load - emptiest.load
        if gap <= _UNEVEN * fmean(worker.load for worker in workers):
            break
        candidates = [left[name] for name in fullest.costs if name in left]
        best = min(candidates, key=lambda one: _gap_after(fullest, emptiest, costs[one.name]), default=None)
        if best is None or costs[best.name] / emptiest.cores > _LARGEST_SHARE * gap:
            break
        fullest.remove(best)
        emptiest.add(best, costs[best.name])
        del left[best.name]
        planned.append(Move(best.name, fullest.name, emptiest.name))
    return planned


def _rank(worker: _Loaded, camera: PlacedCamera, cost: float, even_load: float) -> tuple[bool, bool, float, str]:
    """The lower, the better: room for at least half of it, then its model, then a low load."""
    has_room = worker.load + cost / 2 / worker.cores <= even_load + 1e-9
    return not has_room, has_room and camera.model not in worker.models, round(worker.load, 9), worker.name


def _gap_after(fullest: _Loaded, emptiest: _Loaded, cost: float) -> float:
    return abs((fullest.load - cost / fullest.cores) - (emptiest.load + cost / emptiest.cores))


def _loaded(
    placed: Mapping[str, Sequence[PlacedCamera]], cores: Mapping[str, float], costs: Mapping[str, float]
) -> list[_Loaded]:
    workers = [_Loaded(name, num) for name, num in sorted(cores.items())]
    for worker in workers:
        for camera in placed.get(worker.name, ()):
            worker.add(camera, costs[camera.name])
    return workers


def _costs(cameras: Sequence[PlacedCamera]) -> dict[str, float]:
    """Of each camera: what was measured, else the mean of its model, else that of all."""
    measured = [camera for camera in cameras if camera.cost is not None]
    overall = fmean(camera.cost or 0.0 for camera in measured) if measured else _ASSUMED_COST
    by_model: dict[str, list[float]] = {}
    for camera in measured:
        by_model.setdefault(camera.model, []).append(camera.cost or 0.0)
    means = {model: fmean(costs) for model, costs in by_model.items()}
    return {
        camera.name: max(_LEAST_COST, means.get(camera.model, overall) if camera.cost is None else camera.cost)
        for camera in cameras
    }
