"""Train: a system and scenes → one ONNX file with a parity certificate, and what its training and judging said.

The file is written once all of it is there: an interruption leaves what was there before. Besides its spec it carries
`METADATA_KEY`, the facts that `streamdet lineage compare` shows.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from export.exporting import export_detector
from export.lineage.backbone import pretrained
from export.lineage.judging import Judgement, judge_file, picture_of
from export.lineage.learning import Training, threads
from export.lineage.proposed import proposals_of
from export.lineage.scenes import Scenes
from export.lineage.system import Need, System
from export.proof.images import ProofImage, drawn_images
from pipeline.detector.facts import read_facts
from pipeline.detector.onnx_file import copy_with_metadata
from pipeline.errors import ModelError
from pipeline.picture.parity import Parity
from pipeline.whole_file import write_whole

METADATA_KEY = "streamdet.lineage"
_PREPARE: Mapping[Need, Callable[[Scenes, Training], object]] = {"backbone": pretrained, "proposals": proposals_of}
_PROOF_STREETS = 8  # of the held-out pictures


@dataclass(frozen=True, slots=True)
class Record:
    """What a file says of its training, and of its accuracy on scenes that were held out."""

    system: str
    train_minutes: float
    num_pictures: int
    judgement: Judgement
    judged_on: str  # `Scenes.name`, which begins with that of the data set

    def to_json(self) -> str:
        """The text in the file's metadata; `record_of` reads it back."""
        return json.dumps(asdict(self), sort_keys=True)


@dataclass(frozen=True, slots=True)
class Trained:
    """A trained and exported system."""

    path: Path
    record: Record
    parity: Parity


def train_system(
    system: System,
    scenes: Scenes,
    held_out: Scenes,
    path: Path,
    training: Training,
    *,
    num_threads: int | None = None,
    on_part: Callable[[str], None] = lambda _: None,
) -> Trained:
    """Train a system, prove its export, judge it, and write the file; on_part is called with what comes next.

    num_threads: of PyTorch; None: one for each core. Raises ModelError for an export that does not meet its bar, and
    OSError for a file that cannot be written.
    """
    with threads(num_threads):
        for need in system.needs:
            _PREPARE[need](scenes, training)
        began = training.clock()
        network = system.train(scenes, training).eval()
        minutes = (training.clock() - began) / 60
    on_part("exporting and proving")
    streets = [
        ProofImage(f"held-out {number}", picture_of(example))
        for number, example in enumerate(held_out.examples[:: max(1, len(held_out.examples) // _PROOF_STREETS)])
    ]
    with tempfile.TemporaryDirectory(prefix="streamdet-lineage-") as folder:
        plain = Path(folder) / path.name
        exported = export_detector(
            system.exportable(network, scenes.world), plain, images=[*drawn_images(), *streets], batch_sizes=(1, 2)
        )
        on_part("judging")
        judgement = judge_file(plain, exported.spec, held_out)
        record = Record(system.name, round(minutes, 2), len(scenes.examples), judgement, held_out.name)
        copy_with_metadata(plain, plain, {METADATA_KEY: record.to_json()})
        write_whole(path, plain.read_bytes())
    return Trained(path, record, exported.evidence.parity)


def record_of(path: Path, data_set: str | None = None) -> Record:
    """What the file of a trained system says of itself. Raises ModelError for any other file, or of another data set.

    data_set: its name; None: any.
    """
    text = read_facts(path).metadata.get(METADATA_KEY, "")
    try:
        fields: dict[str, Any] = json.loads(text)
        record = Record(**(fields | {"judgement": Judgement(**fields["judgement"])}))
    except (ValueError, TypeError, KeyError) as error:
        raise ModelError(f"{path} must be a file of `streamdet lineage train`, which this is not") from error
    if data_set is not None and not record.judged_on.startswith(data_set):
        raise ModelError(f"{path} must be judged on {data_set}, it was on {record.judged_on}; choose it with --on")
    return record
