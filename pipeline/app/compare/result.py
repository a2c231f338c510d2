"""Result of a comparison: the teacher, its labels, and each candidate's agreement with them and speed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pipeline.app.compare.verdict import Row, verdict
from pipeline.app.config.run import RunConfig
from pipeline.app.machine import available_cores
from pipeline.measure.summary import Summary, disturbances
from pipeline.measure.teacher import Labels, TeacherAgreement
from pipeline.picture.detections import Detections
from pipeline.picture.detector_spec import DetectorSpec


@dataclass(frozen=True, slots=True)
class Teacher:
    """Who labels, and why this one."""

    name: str
    path: Path
    why: str
    class_names: tuple[str, ...]
    labels: tuple[Labels, ...]  # of each sampled frame
    described: str  # device, precision, size, tiles


@dataclass(slots=True)
class Candidate:
    """A model, and what came of it."""

    name: str
    config: RunConfig
    spec: DetectorSpec
    is_teacher: bool
    detections: list[Detections]  # by sampled frame, of the common classes, numbered as the teacher's
    agreement: TeacherAgreement
    summary: Summary | None = None
    pictures: tuple[Path, ...] = ()

    @property
    def row(self) -> Row:
        """For the verdict."""
        return Row(self.name, self.agreement.ap, None if self.summary is None else self.summary.fps, self.is_teacher)

    @property
    def detect_ms(self) -> float | None:
        """The median service time of the network's stage."""
        if self.summary is None:
            return None
        return self.summary.typical.stages["detect"].service_ms["p50"]

    @property
    def disturbances(self) -> list[str]:
        """What speaks against trusting its speed."""
        if self.summary is None:
            return []
        return disturbances([self.summary.typical], self.summary.fps, cores=available_cores())


@dataclass(frozen=True, slots=True)
class Comparison:
    """What was compared, how, and what came of it."""

    source: str
    frame_indices: tuple[int, ...]  # of the sampled frames, in the source
    teacher: Teacher
    labels: Sequence[Labels]  # of each sampled frame, of the common classes
    common: frozenset[int]  # the teacher's classes that all know
    candidates: Sequence[Candidate]
    sure_score: float  # from which on a label counts
    ap_score: float  # from which on detections count for AP
    repeats: int  # of each measurement of speed
    seconds: float  # that each took

    @property
    def num_sure(self) -> int:
        """How many objects the teacher is sure of."""
        return sum(len(label.sure) for label in self.labels)

    @property
    def num_unsure(self) -> int:
        """How many objects count for nothing."""
        return sum(len(label.unsure) for label in self.labels)

    @property
    def verdict(self) -> str:
        """Which to take."""
        return verdict([candidate.row for candidate in self.candidates])
