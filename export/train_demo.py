"""Demo training: drawn traffic with its exact ground truth → the ONNX file that ships with streamdet.

    python -m export.train_demo -o pipeline/detector/demo.onnx

The loss is that of SSD: anchors that overlap an object by IoU >= 0.5 are positive, and every object's best anchor as
well; cross entropy over the positives and the three hardest negatives for each; smooth L1 on the offsets of the
positives. Seeded: the same machine gives the same network.
"""

from __future__ import annotations

import argparse
import logging
import multiprocessing
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor, nn
from torchvision.ops import box_convert, box_iou

from export.examples import Example, augmented, examples_of
from export.exporting import export_detector
from export.families.demo_network import (
    NETWORK_WH,
    DemoNetwork,
    anchors,
    demo_exportable,
    encode,
    normalised,
)
from export.proof.images import ProofImage, drawn_images
from pipeline.errors import StreamdetError
from pipeline.picture.frame import ArrayPicture
from pipeline.sources.street.traffic import TrafficSource

logger = logging.getLogger(__name__)

POSITIVE_IOU = 0.5
IGNORED_IOU = 0.4
NEGATIVES_PER_POSITIVE = 3
# Seeds below this are for training, the others are held out.
FIRST_HELD_OUT_SEED = 1000
SIZES = ((640, 360), (640, 360), (1280, 720))


def match_anchors(
    boxes_xyxy: Tensor, class_ids: Tensor, ignored_xyxy: Tensor, anchors_cxcywh: Tensor
) -> tuple[Tensor, Tensor]:
    """The labels [A] of anchors (0: background, 1 + class, -1: not counted) and their offsets [A, 4].

    An anchor takes the object that it overlaps most, if by at least POSITIVE_IOU; the best anchor of every object takes
    it in any case, so that the network learns every object. Other anchors over an ignored box are not counted.
    """
    labels = torch.zeros(len(anchors_cxcywh), dtype=torch.int64)
    offsets = torch.zeros(len(anchors_cxcywh), 4)
    corners = box_convert(anchors_cxcywh, "cxcywh", "xyxy")
    if len(ignored_xyxy):
        labels[box_iou(ignored_xyxy, corners).max(dim=0).values >= IGNORED_IOU] = -1
    if len(boxes_xyxy):
        iou = box_iou(boxes_xyxy, corners)  # [N, A]
        best_iou, best_object = iou.max(dim=0)  # [A], [A]
        best_anchor = iou.argmax(dim=1)  # [N]
        best_object[best_anchor] = torch.arange(len(boxes_xyxy))
        best_iou[best_anchor] = 1.0
        is_positive = best_iou >= POSITIVE_IOU  # [A]
        chosen = best_object[is_positive]
        labels[is_positive] = 1 + class_ids[chosen]
        offsets[is_positive] = encode(boxes_xyxy[chosen], anchors_cxcywh[is_positive])
    return labels, offsets


def multibox_loss(logits: Tensor, offsets: Tensor, labels: Tensor, target_offsets: Tensor) -> Tensor:
    """The loss of logits [N, A, 1 + C] and offsets [N, A, 4] against labels [N, A] and target offsets [N, A, 4]."""
    is_positive = labels > 0  # [N, A]
    num_positive = is_positive.sum(dim=1)  # [N]
    costs = nn.functional.cross_entropy(
        logits.flatten(0, 1), labels.flatten(), reduction="none", ignore_index=-1
    ).view_as(labels)
    negative_costs = costs.detach().masked_fill(labels != 0, -1.0)  # [N, A]
    rank = negative_costs.argsort(dim=1, descending=True).argsort(dim=1)  # [N, A]: 0 is the hardest
    num_negative = (NEGATIVES_PER_POSITIVE * num_positive).clamp(min=NEGATIVES_PER_POSITIVE)
    is_counted = is_positive | ((rank < num_negative[:, None]) & (labels == 0))
    box_cost = nn.functional.smooth_l1_loss(offsets[is_positive], target_offsets[is_positive], reduction="sum")
    return (costs[is_counted].sum() + box_cost) / num_positive.sum().clamp(min=1)


def _examples_of_scene(scene: tuple[int, int, tuple[int, int]]) -> list[Example]:
    seed, num_frames, (width, height) = scene
    cv2.setNumThreads(1)
    return list(examples_of(f"sim:traffic?seed={seed}&seconds={num_frames}&fps=1&size={width}x{height}", NETWORK_WH))


def gather(num_scenes: int, *, first_seed: int, frames_per_scene: int) -> list[Example]:
    """Pictures of `num_scenes` streets, one second apart, in the SIZES by turns; drawn by all cores."""
    scenes = [(first_seed + scene, frames_per_scene, SIZES[scene % len(SIZES)]) for scene in range(num_scenes)]
    examples: list[Example] = []
    started = time.monotonic()
    with multiprocessing.get_context("spawn").Pool() as pool:
        for number, drawn in enumerate(pool.imap(_examples_of_scene, scenes)):
            examples += drawn
            if number % 50 == 49:
                logger.info("%d scenes, %d pictures, %.0f s", number + 1, len(examples), time.monotonic() - started)
    return examples


def train(
    network: DemoNetwork, examples: list[Example], *, num_epochs: int, batch_size: int, learning_rate: float, seed: int
) -> None:
    """Train in place, with AdamW and one cycle of the learning rate."""
    chance = np.random.default_rng(seed)
    anchors_cxcywh = anchors()
    optimiser = torch.optim.AdamW(network.parameters(), lr=learning_rate, weight_decay=1e-4)
    steps_per_epoch = len(examples) // batch_size
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, learning_rate, total_steps=num_epochs * steps_per_epoch, pct_start=0.1
    )
    network.train()
    started = time.monotonic()
    for epoch in range(num_epochs):
        order = chance.permutation(len(examples))
        losses = []
        for step in range(steps_per_epoch):
            chosen = order[step * batch_size : (step + 1) * batch_size]
            batch = [augmented(examples[index], chance) for index in chosen]
            matched = [
                match_anchors(
                    torch.from_numpy(example.boxes_xyxy),
                    torch.from_numpy(example.class_ids),
                    torch.from_numpy(example.ignored_xyxy),
                    anchors_cxcywh,
                )
                for example in batch
            ]
            labels, target_offsets = (torch.stack(column) for column in zip(*matched, strict=True))
            pixels = normalised(torch.from_numpy(np.stack([example.pixels for example in batch])))
            # bf16 products: half the time on processors that have them, and batch norm keeps them in range.
            with torch.autocast("cpu", torch.bfloat16):
                logits, offsets = network(pixels.contiguous(memory_format=torch.channels_last))
            loss = multibox_loss(logits.float(), offsets.float(), labels, target_offsets)
            optimiser.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            nn.utils.clip_grad_norm_(network.parameters(), 10.0)
            optimiser.step()
            schedule.step()
            losses.append(loss.item())
        logger.info(
            "epoch %d of %d: loss %.3f, %.0f s", epoch + 1, num_epochs, np.mean(losses), time.monotonic() - started
        )


def fold_batch_norms(module: nn.Module) -> None:
    """Fold every batch norm that follows a convolution into its weights, in place; for a network in eval mode."""
    for part in module.modules():
        if not isinstance(part, nn.Sequential):
            continue
        for index in range(len(part) - 1):
            convolution, norm = part[index], part[index + 1]
            if isinstance(convolution, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
                part[index] = nn.utils.fusion.fuse_conv_bn_eval(convolution, norm)
                part[index + 1] = nn.Identity()


def round_weights(module: nn.Module) -> None:
    """Round the convolutions' weights to float16, in place, so that export can store them in half the bytes."""
    for part in module.modules():
        if isinstance(part, nn.Conv2d):
            part.weight.data = part.weight.data.half().float()


def main() -> None:
    """Draw, train, export."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("-o", "--output", type=Path, default=Path("pipeline/detector/demo.onnx"))
    parser.add_argument("--scenes", type=int, default=250, help="streets to train on")
    parser.add_argument("--frames-per-scene", type=int, default=20)
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--learning-rate", type=float, default=3e-3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--checkpoint", type=Path, help="save the trained network here, or load it from here")
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    if options.scenes > FIRST_HELD_OUT_SEED:
        parser.error(
            f"--scenes must be at most {FIRST_HELD_OUT_SEED}, the first seed for evaluation, got {options.scenes}"
        )

    torch.manual_seed(options.seed)
    class_names = TrafficSource.from_spec("sim:traffic?seed=0&seconds=1").class_names
    network = DemoNetwork(len(class_names)).to(memory_format=torch.channels_last)
    logger.info("%.2f M parameters", sum(weight.numel() for weight in network.parameters()) / 1e6)
    if options.checkpoint is not None and options.checkpoint.exists():
        network.load_state_dict(torch.load(options.checkpoint, weights_only=True))
    else:
        train(
            network,
            gather(options.scenes, first_seed=0, frames_per_scene=options.frames_per_scene),
            num_epochs=options.epochs,
            batch_size=options.batch_size,
            learning_rate=options.learning_rate,
            seed=options.seed,
        )
        if options.checkpoint is not None:
            torch.save(network.state_dict(), options.checkpoint)
    network = network.to(memory_format=torch.contiguous_format).eval()
    fold_batch_norms(network)
    round_weights(network)
    held_out = gather(8, first_seed=FIRST_HELD_OUT_SEED, frames_per_scene=2)
    streets = [
        ProofImage(f"street {number}", ArrayPicture(np.ascontiguousarray(example.pixels[:, :, ::-1])))
        for number, example in enumerate(held_out)
    ]
    exported = export_detector(
        demo_exportable(network, class_names), options.output, images=[*drawn_images(), *streets]
    )
    logger.info("%s: %s", exported.path, exported.evidence.parity)


if __name__ == "__main__":
    try:
        main()
    except StreamdetError as error:
        sys.exit(f"train_demo: error: {error}")
