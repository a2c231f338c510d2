"""DETR training: drawn streets → the weights of the lineage's DETR that ship with streamdet, in float16.

    python -m export.train_detr -o export/lineage/detr.npz

It needs half an hour of one core where the others need minutes. Every two thousand steps it judges the network on
held-out streets and writes the file, so that little is lost; `--start FILE` goes on from earlier weights.
"""

from __future__ import annotations

import argparse
import dataclasses
import logging
from pathlib import Path

import numpy as np

from export.exporting import TorchPath
from export.lineage import detr
from export.lineage.judging import LEAST_SCORE, judge
from export.lineage.learning import Training, threads
from export.lineage.scenes import Scenes, held_out_streets, training_streets
from pipeline.whole_file import WholeFile

logger = logging.getLogger(__name__)
_EVERY = 100  # steps, between two lines of the log
_KEPT_EVERY = 2000  # steps, between two judgements


def main() -> None:
    """Draw, train, judge, write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("-o", "--output", type=Path, default=detr.WEIGHTS)
    parser.add_argument("--start", type=Path, help="weights to go on from; by default none")
    parser.add_argument("--streets", type=int, default=240, help="how many to train on")
    parser.add_argument("--steps", type=int, default=detr.FROM_SCRATCH.steps)
    parser.add_argument("--learning-rate", type=float, default=detr.FROM_SCRATCH.learning_rate)
    parser.add_argument("--threads", type=int, help="of PyTorch; by default one for each core")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    recipe = dataclasses.replace(detr.FROM_SCRATCH, steps=options.steps, learning_rate=options.learning_rate)
    scenes, held_out = training_streets(options.streets), held_out_streets()
    with threads(options.threads):
        if options.start is None:
            network = detr.untrained(scenes, Training(seed=options.seed, on_step=_log))
        else:
            network = detr.with_weights(scenes, detr.weights_in(options.start))

        def on_step(part: str, done: int, total: int) -> None:
            _log(part, done, total)
            if done % _KEPT_EVERY == 0 or done == total:
                _keep(network, options.output, scenes, held_out)

        detr.learn(network, scenes, Training(seed=options.seed, on_step=on_step), recipe)


def _keep(network: detr.Detr, path: Path, scenes: Scenes, held_out: Scenes) -> None:
    """Write the weights, and judge what was written."""
    with WholeFile(path) as target:
        np.savez_compressed(target.file, allow_pickle=False, **detr.packed(network))
        target.finish()
    written = detr.with_weights(scenes, detr.weights_in(path))
    detect = TorchPath(detr.exportable(written, scenes.world), score_threshold=LEAST_SCORE)
    judgement = judge(detect, held_out)
    logger.info("wrote %s: mAP50 %.3f, mAP %.3f on held-out streets", path, judgement.map50, judgement.map)


def _log(part: str, done: int, total: int) -> None:
    if done % _EVERY == 0 or done == total:
        logger.info("%s: step %d of %d", part, done, total)


if __name__ == "__main__":
    main()
