"""Own PyTorch module: exported with its description of input and outputs, compared with PyTorch, and run.

python examples/own_torch_module.py lamp.png          (needs the extra export)
"""

import subprocess
import sys
from pathlib import Path

import torch

import streamdet
from export.adapter import Adapter


class Lamps(torch.nn.Module):
    """Stands in for a trained network: one box for each 16 × 16 pixels, scored by how bright they are."""

    def forward(self, pixels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Float [N, 3, 48, 64] in 0..1 → boxes [N, 12, 4] in pixels, scores [N, 12, 1]."""
        brightness = torch.nn.functional.avg_pool2d(pixels.mean(1, keepdim=True), 16).flatten(1)  # [N, 12]
        y, x = torch.meshgrid(torch.arange(3) * 16.0, torch.arange(4) * 16.0, indexing="ij")
        boxes = torch.stack([x, y, x + 16, y + 16], -1).reshape(1, 12, 4)
        return boxes.expand(pixels.shape[0], 12, 4), brightness[..., None]


ADAPTER = Adapter(network_wh=(64, 48), class_names=("lamp",), score_threshold=0.9)

if __name__ == "__main__":
    names = ["own_torch_module:Lamps", "--adapter", "own_torch_module:ADAPTER"]
    command = [sys.executable, "-m", "streamdet", "export", *names, "--overwrite"]
    command += ["-o", str(Path("lamps.onnx").absolute())]
    subprocess.run(command, check=True, cwd=Path(__file__).parent)  # where own_torch_module can be imported
    print(streamdet.Detector("lamps.onnx")(sys.argv[1]))
