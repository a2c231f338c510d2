from collections.abc import Sequence

import cv2
import numpy as np
import onnxruntime
import pytest
import torch
from torch import Tensor, nn
from torchvision.ops import roi_pool

from export.examples import Example
from export.graph.ops import max_pool_regions
from export.graph.to_onnx import to_onnx
from export.lineage.backbone import Backbone
from export.lineage.fast_rcnn import FastRcnn, multi_task_loss
from export.lineage.learning import Training
from export.lineage.regions import ProposedScenes, RegionDecode, Sampling, fit_regressors
from export.lineage.scenes import Scenes, World
from export.lineage.spp_net import SppNet


def proposed_scenes(monkeypatch: pytest.MonkeyPatch, proposals: Sequence[Sequence[float]]) -> ProposedScenes:
    example = Example(
        np.zeros((64, 96, 3), np.uint8),
        np.array([[10, 10, 30, 30]], np.float32),
        np.array([1]),
        np.array([[60, 0, 90, 30]], np.float32),
    )
    boxes = np.array(proposals, np.float32).reshape(-1, 4)
    monkeypatch.setattr("export.lineage.regions.proposals_of", lambda *_: [boxes])
    return ProposedScenes(Scenes(World(("a", "b"), (96, 64)), (example,), "one"), Training())


def test_a_sample_is_a_quarter_objects_and_leaves_out_what_is_ignored(monkeypatch: pytest.MonkeyPatch) -> None:
    near, partly, far, ignored = [11, 10, 31, 30], [10, 10, 30, 90], [40, 40, 60, 60], [62, 2, 88, 28]
    proposed = proposed_scenes(monkeypatch, [near, partly, far, ignored])
    sampled = proposed.sample(0, Sampling(size=8), np.random.default_rng(0))
    assert sampled.labels.tolist() == [2, 2, 0, 0]
    assert sorted(sampled.rois[2:].tolist()) == [partly, far]
    exact = sampled.rois[:2].tolist().index([10, 10, 30, 30])
    assert sampled.offsets[exact].tolist() == [0, 0, 0, 0]


def test_negatives_of_fast_r_cnn_touch_an_object_where_some_do(monkeypatch: pytest.MonkeyPatch) -> None:
    proposed = proposed_scenes(monkeypatch, [[10, 10, 30, 90], [40, 40, 60, 60]])
    sampling = Sampling(size=8, negative_iou=(0.1, 0.5))
    assert proposed.sample(0, sampling, np.random.default_rng(0)).rois[1:].tolist() == [[10, 10, 30, 90]]


def test_a_mirrored_sample_still_leads_to_the_mirrored_object(monkeypatch: pytest.MonkeyPatch) -> None:
    proposed = proposed_scenes(monkeypatch, [[14, 10, 30, 34]])
    decode = RegionDecode((96, 64), 2, max_candidates=4)
    seen = set()
    for seed in range(8):
        _, sampled = proposed.mirrored_at_random(0, Sampling(), np.random.default_rng(seed))
        logits = torch.tensor([[0.0, -9, 9]]).expand(len(sampled.rois), 3)
        boxes, *_ = decode(logits, sampled.offsets.repeat(1, 2), sampled.rois[None])
        seen |= {tuple(box) for box in boxes[0, :2].round(decimals=2).tolist()}
    assert seen == {(10, 10, 30, 30), (66, 10, 86, 30)}


def test_the_rows_behind_the_last_proposal_score_0() -> None:
    rois = torch.tensor([[[10.0, 10, 30, 30], [0, 0, 0, 0]]])
    logits = torch.tensor([[0.0, 1.0], [0.0, 9.0]])
    boxes, scores, class_ids = RegionDecode((96, 64), 1)(logits, torch.zeros(2, 4), rois)
    assert scores[0].tolist() == pytest.approx([1 / (1 + np.exp(-1)), 0])
    assert boxes[0, 0].tolist() == pytest.approx([10, 10, 30, 30])
    assert class_ids.tolist() == [[0, 0]]


class _Pool(nn.Module):
    def forward(self, features: Tensor, rois: Tensor) -> tuple[Tensor]:
        return (max_pool_regions(features, rois, 0.125, 3),)


def test_the_graph_pools_regions_as_torchvision_does() -> None:
    chance = torch.Generator().manual_seed(0)
    features = torch.randn(2, 4, 8, 12, generator=chance)
    corners = torch.rand(2, 30, 4, generator=chance) * torch.tensor([96.0, 64, 96, 64])
    low, high = corners[..., :2], corners[..., 2:]
    rois = torch.cat([torch.minimum(low, high), torch.maximum(low, high)], dim=2)
    rois[0, 3] = 0  # padding
    rois[1, 4] = torch.tensor([90.0, 60, 130, 99])  # over the edge
    model = to_onnx(_Pool(), (features, rois), input_name=("features", "rois"), output_names=["pooled"])
    session = onnxruntime.InferenceSession(model.SerializeToString())
    (pooled,) = session.run(None, {"features": features.numpy(), "rois": rois.numpy()})
    theirs = torch.cat([roi_pool(features[i : i + 1], [rois[i]], 3, 0.125) for i in range(2)])
    np.testing.assert_array_equal(pooled, theirs.numpy())


@torch.no_grad()
def test_regions_are_pooled_from_the_enlarged_picture() -> None:
    chance = np.random.default_rng(0)
    picture = chance.normal(size=(64, 96, 3)).astype(np.float32)
    large = cv2.resize(picture, (192, 128), interpolation=cv2.INTER_LINEAR)  # at half-pixel centres, as ours
    pixels, twice = (torch.from_numpy(side).permute(2, 0, 1)[None] for side in (picture, large))
    rois = torch.tensor([[[8.0, 4, 24, 44], [0, 0, 96, 64], [50, 30, 58, 37]]])  # the first 4 x 10 cells, not 2 x 5
    torch.manual_seed(0)
    fast, spp = FastRcnn(Backbone(), 2).eval(), SppNet(Backbone(), 2).eval()
    pooled = roi_pool(fast.convolutions(twice), [2 * rois[0]], 7, 1 / 8)
    torch.testing.assert_close(fast(pixels, rois)[0], fast.classify(fast.hide(pooled.flatten(1))))
    levels = [roi_pool(spp.convolutions(twice), [2 * rois[0]], side, 1 / 8).flatten(1) for side in (1, 2, 4)]
    torch.testing.assert_close(spp.pooled(spp.features(pixels), rois), torch.cat(levels, dim=1))


def test_regressors_recover_a_linear_map_of_each_class_and_leave_the_others_alone() -> None:
    chance = torch.Generator().manual_seed(0)
    features, labels = torch.randn(4000, 5, generator=chance), torch.randint(1, 3, (4000,), generator=chance)
    true = torch.randn(2, 4, 5, generator=chance)
    offsets = torch.einsum("rd,rkd->rk", features, true[labels - 1]) + 0.3
    weights, biases = fit_regressors(features, offsets, labels, num_classes=3)
    torch.testing.assert_close(weights.view(3, 4, 5)[:2], true, atol=0.02, rtol=0)
    torch.testing.assert_close(biases.view(3, 4)[:2], torch.full((2, 4), 0.3), atol=0.02, rtol=0)
    assert not weights.view(3, 4, 5)[2].any()


def test_the_loss_of_both_tasks_counts_the_boxes_of_objects_alone() -> None:
    logits, labels = torch.zeros(4, 3), torch.tensor([0, 2, 0, 0])
    offsets = torch.zeros(4, 8)
    offsets[0] = 100.0  # of the background: free
    offsets[1, :4] = 100.0  # of the other class: free
    targets = torch.zeros(4, 4)
    targets[1] = torch.tensor([0.5, 3, 0, 0])  # smooth L1: 0.125 + 2.5
    assert multi_task_loss(logits, offsets, labels, targets).item() == pytest.approx(np.log(3) + 2.625 / 4)
