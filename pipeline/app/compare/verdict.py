"""Verdict of a comparison: accuracy and speed of each detector → which one to take, in a sentence."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pipeline.measure.summary import Figure

# A smaller gain in speed does not count, and a smaller loss of AP points is not worth a warning.
_FASTER = 1.05
_SMALL_LOSS = 2.0


@dataclass(frozen=True, slots=True)
class Row:
    """What the verdict is made of."""

    name: str
    ap: float  # against the teacher, 0 to 1
    fps: Figure | None  # of the whole path on this machine; None: not measured
    is_teacher: bool  # whether it is the teacher's own network, which no other can be fairly compared with


def verdict(rows: Sequence[Row]) -> str:
    """Which to take, in a sentence made of the numbers alone.

    The nearest to the teacher stays, or the teacher itself, unless another is faster: by 5 % or more, and in every
    repeat. Of those that cost at most 2 AP points the fastest is to be taken.
    """
    nearest = max(rows, key=lambda row: (row.is_teacher, row.ap))
    rivals = [_Rival.of(row, nearest) for row in rows if row is not nearest and row.fps is not None]
    if nearest.fps is None or not rivals:
        return f"take {nearest.name}: it {_standing(nearest)}, and nothing was measured that is faster."
    faster = [rival for rival in rivals if _is_faster(rival.fps, nearest.fps)]
    if not faster:
        return _keep(nearest, nearest.fps, max(rivals, key=lambda rival: rival.fps.median))
    cheap = [rival for rival in faster if rival.loss <= _SMALL_LOSS]
    if cheap:
        best = max(cheap, key=lambda rival: rival.fps.median)
        gain = f"{_ratio(best.fps, nearest.fps)} faster than {nearest.name}"
        return f"take {best.name}: {gain}, {_points(-best.loss)} AP on this video."
    return _keep_unless(nearest, nearest.fps, min(faster, key=lambda rival: rival.loss))


@dataclass(frozen=True, slots=True)
class _Rival:
    """A detector whose speed was measured, beside the one nearest to the teacher."""

    name: str
    fps: Figure
    loss: float  # of AP points against the nearest

    @classmethod
    def of(cls, row: Row, nearest: Row) -> _Rival:
        """Of a row with a speed."""
        assert row.fps is not None
        return cls(row.name, row.fps, 100 * (nearest.ap - row.ap))


def _keep(nearest: Row, fps: Figure, rival: _Rival) -> str:
    """None is faster than the nearest; rival: the fastest of the others."""
    speed = f"{_ratio(fps, rival.fps)} faster than" if _is_faster(fps, rival.fps) else "as fast as"
    if nearest.is_teacher:
        return f"take {nearest.name}: it {_standing(nearest)} and {speed} {rival.name}."
    nearer = f"nearer to the teacher ({_points(rival.loss)} AP on this video)"
    return f"take {nearest.name}: it is {speed} {rival.name} and {nearer}."


def _keep_unless(nearest: Row, fps: Figure, rival: _Rival) -> str:
    """Every faster one costs accuracy; rival: the one that costs least."""
    against = f"{nearest.name}, which {_standing(nearest)}" if nearest.is_teacher else nearest.name
    return (
        f"{rival.name} loses {rival.loss:.1f} AP on this video against {against}: keep {nearest.name} unless "
        f"{_ratio(rival.fps, fps)} the speed is worth that."
    )


def _standing(nearest: Row) -> str:
    return "is the teacher itself" if nearest.is_teacher else "is nearest to the teacher"


def _ratio(one: Figure, other: Figure) -> str:
    return f"{one.median / other.median:.1f}×"


def _is_faster(one: Figure, other: Figure) -> bool:
    return one.median >= _FASTER * other.median and one.least > other.most


def _points(points: float) -> str:
    """With a sign, and a true minus."""
    return f"{points:+.1f}".replace("-", "−")
