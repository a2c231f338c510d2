import numpy as np
import onnxruntime
import pytest
import torch

from export.graph.to_onnx import to_onnx
from export.lineage.hog import BLOCK_CHANNELS, Hog

feature = pytest.importorskip("skimage.feature", reason='the independent HOG: pip install "streamdet[lineage]"')


@pytest.mark.parametrize("size_hw", [(64, 128), (37, 91), (16, 16), (24, 200)])
@pytest.mark.parametrize("levels", [256, 3, 1])  # few levels: many gradients lie just between two bins, or tie
def test_hog_is_that_of_scikit_image(size_hw: tuple[int, int], levels: int) -> None:
    pixels = np.random.default_rng(levels).integers(0, levels, (*size_hw, 3)) * (255 // levels)
    pixels = pixels.astype(np.uint8)
    theirs = feature.hog(pixels, 9, (8, 8), (2, 2), "L2-Hys", feature_vector=False, channel_axis=-1)
    ours = Hog()(torch.from_numpy(pixels).permute(2, 0, 1)[None].float())[0].numpy()
    rows, columns = theirs.shape[:2]
    expected = theirs.transpose(2, 3, 4, 0, 1).reshape(BLOCK_CHANNELS, rows, columns)
    np.testing.assert_allclose(ours, expected, atol=1e-6)


def test_the_graph_of_hog_gives_0_where_there_is_no_gradient() -> None:
    pixels = torch.full((2, 3, 24, 32), 127.0)
    pixels[1, :, 8:16, 8:16] = 90.0
    model = to_onnx(Hog(), pixels, input_name="pixels", output_names=["blocks"])
    (blocks,) = onnxruntime.InferenceSession(model.SerializeToString()).run(None, {"pixels": pixels.numpy()})
    assert not blocks[0].any()
    np.testing.assert_allclose(blocks, Hog()(pixels).numpy(), atol=1e-6)
