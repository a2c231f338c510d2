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
    keep, fps = nearest.name, nearest.fps
    what = "is the teacher itself" if nearest.is_teacher else "is nearest to the teacher"
    speeds = {row.name: row.fps for row in rows if row is not nearest and row.fps is not None}
    if fps is None or not speeds:
        return f"take {keep}: it {what}, and nothing was measured that is faster."
    losses = {row.name: 100 * (nearest.ap - row.ap) for row in rows}
    faster = [name for name, other in speeds.items() if _is_faster(other, fps)]
    if not faster:
        rival = max(speeds, key=lambda name: speeds[name].median)
        is_faster = _is_faster(fps, speeds[rival])
        speed = f"{fps.median / speeds[rival].median:.1f}× faster than" if is_faster else "as fast as"
        if nearest.is_teacher:
            return f"take {keep}: it {what} and {speed} {rival}."
        return (
            f"take {keep}: it is {speed} {rival} and nearer to the teacher ({_points(losses[rival])} AP on this video)."
        )
    cheap = [name for name in faster if losses[name] <= _SMALL_LOSS]
    best = max(cheap, key=lambda name: speeds[name].median) if cheap else min(faster, key=lambda name: losses[name])
    ratio = f"{speeds[best].median / fps.median:.1f}×"
    if cheap:
        return f"take {best}: {ratio} faster than {keep}, {_points(-losses[best])} AP on this video."
    against = f"{keep}, which {what}" if nearest.is_teacher else keep
    return (
        f"{best} loses {losses[best]:.1f} AP on this video against {against}: keep {keep} unless {ratio} the speed is "
        "worth that."
    )


def _is_faster(one: Figure, other: Figure) -> bool:
    return one.median >= _FASTER * other.median and one.least > other.most


def _points(points: float) -> str:
    """With a sign, and a true minus."""
    return f"{points:+.1f}".replace("-", "−")
