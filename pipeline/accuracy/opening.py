"""Which labelled data does a word on the command line mean, and where are its images?"""

from __future__ import annotations

import glob
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from pipeline.accuracy.coco_json import find_coco_json, read_coco_json
from pipeline.accuracy.truth import LabelledData, LabelledImage
from pipeline.accuracy.voc_xml import read_voc_folder
from pipeline.accuracy.yolo_folder import read_yolo_folder
from pipeline.errors import ConfigError


def open_labelled(word: str) -> LabelledData:
    """Read a COCO JSON, a folder of Pascal VOC's XML, a data.yaml, or a folder in which one of these is found.

    Raises ConfigError for anything else, and where nothing is labelled.
    """
    path = Path(word).expanduser()
    data = _read(path)
    if data is None:
        raise ConfigError(
            f"--data must be a COCO JSON, a folder of Pascal VOC's XML files, a data.yaml of YOLO, or sim:traffic; "
            f"{word} is {'none of these' if path.exists() else 'not there'}"
        )
    if not data.num_objects_by_class().any():
        raise ConfigError(f"{word}: no object is labelled in its {len(data.images)} images")
    return replace(data, origin=word)


def with_images(data: LabelledData, folder: Path | None) -> LabelledData:
    """The same data with the paths of its images, looked for in `folder`, or, if None, where they usually are.

    Raises ConfigError for images that are not there.
    """
    if all(image.path is not None for image in data.images):
        return data
    places = [folder] if folder is not None else _usual_places(Path(data.origin).expanduser())
    found = [_find(image, places) for image in data.images]
    missing = [image.name for image, path in zip(data.images, found, strict=True) if path is None]
    if missing:
        raise ConfigError(
            f"{data.origin}: {len(missing)} of {len(found)} labelled images are missing, such as {missing[0]}; looked "
            f"in {', '.join(map(str, places))}; say where they are with --images FOLDER"
        )
    images = (replace(image, path=path) for image, path in zip(data.images, found, strict=True))
    return replace(data, images=tuple(images))


def _read(path: Path) -> LabelledData | None:
    if path.suffix == ".json" and path.is_file():
        return read_coco_json(path)
    if path.suffix in (".yaml", ".yml") and path.is_file():
        return read_yolo_folder(path)
    if not path.is_dir():
        return None
    if any((path / name).is_file() for name in ("data.yaml", "dataset.yaml")):
        return read_yolo_folder(path)
    if any(path.glob("*.xml")) or (path / "Annotations").is_dir():
        return read_voc_folder(path)
    return find_coco_json(path)


def _usual_places(labels: Path) -> list[Path]:
    """Beside the labels, in `images` or `JPEGImages`, and val2017 for annotations/instances_val2017.json."""
    here = labels if labels.is_dir() else labels.parent
    split = re.sub(r"^instances_", "", labels.stem)
    bases = (here, here.parent)
    places = [base / name for base in bases for name in ("", "images", "JPEGImages", split, f"images/{split}")]
    return [each for each in dict.fromkeys(places) if each.is_dir()]


def _find(image: LabelledImage, places: Sequence[Path]) -> Path | None:
    names = dict.fromkeys((image.name, Path(image.name).name))
    candidates = [place / name for place in places for name in names]
    if not Path(image.name).suffix:  # some tools leave it out
        candidates = [each for place in places for each in sorted(place.glob(f"{glob.escape(image.name)}.*"))]
    return next((each for each in candidates if each.is_file() and each.suffix not in (".xml", ".txt")), None)
