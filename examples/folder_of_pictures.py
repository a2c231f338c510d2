"""Folder of pictures: every one annotated, in a folder beside it.

python examples/folder_of_pictures.py photos/ yolox_nano.onnx
"""

import sys
from pathlib import Path

import streamdet

folder, model = Path(sys.argv[1]), sys.argv[2]
annotated = folder.with_name(f"{folder.name}-annotated")
for result in streamdet.detect(folder, model=model):
    path = Path(result.frame.image)
    print(result)
    result.save(annotated / f"{path.stem}.jpg")
