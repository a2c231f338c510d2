"""Label Studio's tasks: pictures → one JSON with a prediction each, which people then correct.

https://labelstud.io/guide/predictions: boxes are left, top, width, height in per cent. A picture is at
`/data/local-files/?d=NAME`, which Label Studio serves from the folder that it is started on; an image on the network
is at its address.
"""

from __future__ import annotations

import json
from urllib.parse import quote

from pipeline.picture.detection_rows import DetectionRow
from pipeline.sinks.labels.label_sink import FileLabels
from pipeline.sinks.labels.picture import LabelledPicture
from pipeline.whole_file import WholeFile


class LabelStudioLabels(FileLabels):
    """A task a line; its regions are those of `<RectangleLabels name="label" toName="image">`."""

    what = "Label Studio's tasks"
    _num_pictures = 0

    def _begin(self, picture: LabelledPicture) -> bytes:
        return b"["

    def _piece(self, picture: LabelledPicture) -> bytes:
        self._num_pictures += 1
        lead = "\n" if self._num_pictures == 1 else ",\n"
        return (lead + json.dumps(_task(picture), allow_nan=False)).encode()

    def _end(self, file: WholeFile) -> None:
        file.file.write(b"\n]\n")


def _task(picture: LabelledPicture) -> dict[str, object]:
    regions = [_region(row, number, picture.size_wh) for number, row in enumerate(picture.rows, 1)]
    prediction: dict[str, object] = {"model_version": "streamdet", "result": regions}
    if regions:
        prediction["score"] = round(sum(row.score for row in picture.rows) / len(regions), 4)
    address = f"/data/local-files/?d={quote(picture.name, errors='surrogateescape')}"
    if picture.image is not None and "://" in picture.image:
        address = picture.image
    return {"data": {"image": address}, "predictions": [prediction]}


def _region(row: DetectionRow, number: int, size_wh: tuple[int, int]) -> dict[str, object]:
    width, height = size_wh
    box = {
        "x": 100 * row.x1 / width,
        "y": 100 * row.y1 / height,
        "width": 100 * (row.x2 - row.x1) / width,
        "height": 100 * (row.y2 - row.y1) / height,
    }
    return {
        "id": str(number),
        "type": "rectanglelabels",
        "from_name": "label",
        "to_name": "image",
        "original_width": width,
        "original_height": height,
        "image_rotation": 0,
        "value": {name: round(share, 4) for name, share in box.items()}
        | {"rotation": 0, "rectanglelabels": [row.class_name]},
        "score": row.score,
    }
