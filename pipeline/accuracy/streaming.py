"""Streaming accuracy: detections and their latencies → the newest answer that there is at each frame's time.

Streaming AP (Li, Wang, Ramanan, "Towards Streaming Perception", ECCV 2020, https://arxiv.org/abs/2005.10420):
the truth y_i of time t_i is compared not with the detections of frame i, but with the newest answer finished by then,

    L = L({(y_i, ŷ_φ(t_i))}),    φ(t) = argmax_k { k : s_k ≤ t },    s_k: when the answer to frame k is finished,

and with no detections while there is none. With COCO's AP for L that is streaming AP; without latency it is AP itself.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pipeline.errors import ConfigError
from pipeline.picture.detections import Detections

# Closer than this, two times are one: n / 30 is not the sum of n thirtieths, and no latency is measured so well.
_SAME_INSTANT_SECONDS = 1e-6

TimeArray = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Answer:
    """A frame that a detector worked on, and when; on the clock of the frames' times.

    Raises ValueError for times that are not finite or in the wrong order.
    """

    frame_index: int
    started_at_seconds: float
    finished_at_seconds: float

    def __post_init__(self) -> None:
        if self.frame_index < 0:
            raise ValueError(f"frame_index must be at least 0, got {self.frame_index}")
        if not -math.inf < self.started_at_seconds <= self.finished_at_seconds < math.inf:
            raise ValueError(
                f"the answer to frame {self.frame_index} must finish after it starts, "
                f"got {self.started_at_seconds} to {self.finished_at_seconds} s"
            )


def simulate(frame_times_seconds: Sequence[float], latencies_seconds: float | Sequence[float]) -> list[Answer]:
    """What a detector with such latencies would do on a stream, one frame at a time.

    Whenever it is free it takes the newest frame that has come; if it knows that one, it waits for the next. It never
    waits for a fresher one, as the paper's shrinking-tail schedule does, because neither does a `drop_oldest` queue.
    Measured latencies are taken in their order, from the start again when they are used up.
    Raises ConfigError for times that are not in order and for latencies that cannot be.
    """
    times = _checked(frame_times_seconds)  # [N]
    latencies = np.atleast_1d(np.asarray(latencies_seconds, np.float64))
    if latencies.ndim != 1 or not len(latencies):
        raise ConfigError("latencies must be one number of seconds or several, got none")
    if not (np.isfinite(latencies) & (latencies >= 0)).all():
        raise ConfigError(f"latencies must be finite and at least 0 seconds, got {latencies.min()}")
    answers: list[Answer] = []
    free_at, num_seen = -math.inf, 0
    while num_seen < len(times):
        newest = _num_by(times, max(free_at, times[num_seen])) - 1
        started_at = max(free_at, float(times[newest]))
        free_at = started_at + float(latencies[len(answers) % len(latencies)])
        answers.append(Answer(newest, started_at, free_at))
        num_seen = newest + 1
    return answers


def latest_finished(times_seconds: Sequence[float], answers: Iterable[Answer]) -> list[int | None]:
    """For each time the newest frame whose answer is finished by then, or at that very time; None before the first.

    Answers may overlap and finish in any order, as those of several workers do: one that comes after the answer to a
    newer frame is not shown. Raises ConfigError for times that are not in order.
    """
    times = _checked(times_seconds)  # [N]
    in_order = sorted(answers, key=lambda answer: answer.finished_at_seconds)
    finished_at = np.array([answer.finished_at_seconds for answer in in_order], np.float64)  # [A]
    newest = np.maximum.accumulate(np.array([answer.frame_index for answer in in_order], np.int64))  # [A]
    nums = [_num_by(finished_at, time) for time in times]
    return [int(newest[num - 1]) if num else None for num in nums]


def streaming_detections(
    detections: Sequence[Detections] | Mapping[int, Detections], shown: Iterable[int | None]
) -> list[Detections]:
    """The detections shown at each time, by frame index as `latest_finished` gives it; empty where that is None."""
    return [Detections.empty() if frame_index is None else detections[frame_index] for frame_index in shown]


def _num_by(times: TimeArray, now: float) -> int:
    """How many of the times, which are in order, have come."""
    return int(np.searchsorted(times, now + _SAME_INSTANT_SECONDS, side="right"))


def _checked(times_seconds: Sequence[float]) -> TimeArray:
    times = np.asarray(times_seconds, np.float64)
    if not np.isfinite(times).all():
        raise ConfigError("frames' times must be finite numbers of seconds, got some that are not")
    back = np.flatnonzero(np.diff(times) < 0)
    if len(back):
        index = int(back[0])
        raise ConfigError(
            f"frames' times must not go back, got {times[index]} s of frame {index} before {times[index + 1]} s"
        )
    return times
