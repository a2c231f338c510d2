"""Folder of pictures: every one annotated, in a folder beside it.

python examples/folder_of_pictures.py photos/ yolox_nano.onnx
"""

import sys
from pathlib import Path

import streamdet

folder, model = Path(sys.argv[1]).resolve(), sys.argv[2]
annotated = folder.with_name(f"{folder.name}-annotated")
for result in streamdet.detect(folder, model=model):
    if result.frame.image is None:
        continue  # a frame of a video
    print(result)
    name = Path(result.frame.image).name
    try:
        result.save(annotated / name)
    except streamdet.StreamdetError:  # of a format that is only read, such as HEIC
        result.save(annotated / f"{name}.jpg")
