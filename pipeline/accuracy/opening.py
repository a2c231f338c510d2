"""Labelled data: a word on the command line → images with their labels and their paths."""

from __future__ import annotations

import glob
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path, PureWindowsPath

import numpy as np
import numpy.typing as npt

from pipeline.accuracy.classes import meaning_of
from pipeline.accuracy.coco_json import find_coco_json, read_coco_json
from pipeline.accuracy.truth import LabelledData, LabelledImage, Truth, refuse_crowded
from pipeline.accuracy.voc_xml import read_voc_folder, xml_files
from pipeline.accuracy.yolo_folder import IMAGE_SUFFIXES, read_yolo_folder
from pipeline.errors import ConfigError
from pipeline.user_path import user_path


def open_labelled(word: str) -> LabelledData:
    """Read a COCO JSON, a folder of Pascal VOC's XML, a data.yaml, or a folder in which one of these is found.

    Raises ConfigError for anything else, and where nothing is labelled.
    """
    path = user_path(word)
    data = _read(path)
    if data is None:
        raise ConfigError(
            f"--data must be a COCO JSON, a folder of Pascal VOC's XML files, a data.yaml of YOLO, or sim:traffic; "
            f"{word} is {'none of these' if path.exists() else 'not there'}"
        )
    for image in data.images:
        num_boxes = len(image.truth.objects) + len(image.truth.ignored)
        refuse_crowded(num_boxes, where=f"{word}: {image.name}")
    if not data.num_objects_by_class().any():
        raise ConfigError(f"{word}: no object is labelled in its {len(data.images)} images")
    return replace(with_each_name_once(data), origin=word)


def with_images(data: LabelledData, folder: Path | None) -> LabelledData:
    """The same data with the paths of its images, looked for in `folder`, or, if None, where they usually are.

    An image that has a file of labels to itself is the one that bears its name; what the labels call it may be stale,
    because both were renamed or the image was converted.
    Raises ConfigError for images that are not there, and for one that is labelled twice.
    """
    if all(image.path is not None for image in data.images):
        return data
    folders = [folder] if folder is not None else _usual_folders(user_path(data.origin))
    paths = _paths_of(data.images, folders)
    missing = [image.name for image, path in zip(data.images, paths, strict=True) if path is None]
    if missing:
        raise ConfigError(
            f"{data.origin}: {len(missing)} of {len(paths)} labelled images are missing, such as {missing[0]}; looked "
            f"in {', '.join(map(str, folders))}; say where they are with --images FOLDER"
        )
    images = tuple(replace(image, path=path) for image, path in zip(data.images, paths, strict=True))
    _refuse_labelled_twice(data.origin, images)
    return replace(data, images=images)


def with_each_name_once(data: LabelledData) -> LabelledData:
    """The same data without unused classes of a name that another has too, as some tools write them.

    Raises ConfigError for two classes that are both used and called the same, in whatever case.
    """
    used = _used_class_ids(data)
    indices_by_name: dict[str, list[int]] = {}
    for index, name in enumerate(data.class_names):
        indices_by_name.setdefault(meaning_of(name), []).append(index)
    kept = [_kept_of(indices, used, data) for indices in indices_by_name.values()]
    if len(kept) == len(data.class_names):
        return data
    kept.sort()
    moved = np.full(len(data.class_names), -1)
    moved[kept] = np.arange(len(kept))
    return replace(
        data,
        class_names=tuple(data.class_names[index] for index in kept),
        category_ids=tuple(data.category_ids[index] for index in kept),
        images=tuple(replace(image, truth=_renumbered(image.truth, moved)) for image in data.images),
    )


def _used_class_ids(data: LabelledData) -> set[int]:
    """Those of objects and of ignored ones."""
    truths = [image.truth for image in data.images]
    return {
        int(class_id)
        for truth in truths
        for detections in (truth.objects, truth.ignored)
        for class_id in detections.class_ids
    }


def _kept_of(indices: Sequence[int], used: set[int], data: LabelledData) -> int:
    """Of the classes of one name the one in use, or the first. Raises ConfigError where two are in use."""
    in_use = [index for index in indices if index in used]
    if len(in_use) > 1:
        one, other, *_ = (data.class_names[index] for index in in_use)
        first, second, *_ = (data.category_ids[index] for index in in_use)
        raise ConfigError(
            f"{data.origin}: every class must have a name of its own, {first} is {one!r} and {second} is "
            f"{other!r}; give them one number or two names"
        )
    return (in_use or indices)[0]


def _renumbered(truth: Truth, moved: npt.NDArray[np.int64]) -> Truth:
    objects, ignored = (replace(part, class_ids=moved[part.class_ids]) for part in (truth.objects, truth.ignored))
    return replace(truth, objects=objects, ignored=ignored)


def _refuse_labelled_twice(origin: str, images: Sequence[LabelledImage]) -> None:
    first: dict[Path, LabelledImage] = {}
    for image in images:
        assert image.path is not None
        other = first.setdefault(image.path.resolve(), image)
        if other is not image:
            one, two = (labelled.label_file or f"image {labelled.image_id}" for labelled in (other, image))
            raise ConfigError(f"{origin}: every image must be labelled once, {one} and {two} are both of {image.path}")


def _read(path: Path) -> LabelledData | None:
    suffix = path.suffix.lower()
    if suffix == ".json" and path.is_file():
        return read_coco_json(path)
    if suffix in (".yaml", ".yml") and path.is_file():
        return read_yolo_folder(path)
    if not path.is_dir():
        return None
    if any((path / name).is_file() for name in ("data.yaml", "dataset.yaml")):
        return read_yolo_folder(path)
    if xml_files(path) or (path / "Annotations").is_dir():
        return read_voc_folder(path)
    return find_coco_json(path)


def _usual_folders(labels: Path) -> list[Path]:
    """Beside the labels, in `images` or `JPEGImages`, and val2017 for annotations/instances_val2017.json."""
    folder = labels if labels.is_dir() else labels.parent
    split = re.sub(r"^instances_", "", labels.stem)
    bases = (folder, folder.parent)
    folders = [base / name for base in bases for name in ("", "images", "JPEGImages", split, f"images/{split}")]
    return [path for path in dict.fromkeys(folders) if path.is_dir()]


def _paths_of(images: Sequence[LabelledImage], folders: Sequence[Path]) -> list[Path | None]:
    """The file of each image; None where there is none."""
    if not any(image.label_file for image in images):
        return [_find(image, folders) for image in images]
    by_stem = list(map(_images_by_stem, folders))
    return [_beside_labels(image, folders, by_stem) for image in images]


def _images_by_stem(folder: Path) -> dict[str, list[Path]]:
    """The images in a folder, by their names without suffix."""
    images: dict[str, list[Path]] = {}
    for path in sorted(folder.iterdir()):
        if path.suffix.lower() in IMAGE_SUFFIXES and not path.name.startswith("._"):
            images.setdefault(path.stem, []).append(path)
    return images


def _beside_labels(
    image: LabelledImage, folders: Sequence[Path], by_stem: Sequence[Mapping[str, Sequence[Path]]]
) -> Path | None:
    """In the first folder that has one of both: the image called as its file of labels, else as the labels name it."""
    if image.label_file is None:
        return _find(image, folders)
    for folder, images in zip(folders, by_stem, strict=True):
        paths = images.get(image.label_file.stem, ())
        named = _find(image, [folder])
        if len(paths) > 1 and named not in paths:
            names = " and ".join(path.name for path in paths)
            raise ConfigError(
                f"{image.label_file} must be of one image, {names} bear its name, and it says {image.name}"
            )
        if paths or named:
            return named if len(paths) > 1 or not paths else paths[0]
    return None


def _find(image: LabelledImage, folders: Sequence[Path]) -> Path | None:
    """Under the name in the labels, or its last part, which Windows' tools write behind a backslash."""
    name = image.name.lstrip("/")
    last = PureWindowsPath(name).name
    names = dict.fromkeys((name, name.replace("\\", "/"), last))
    candidates = [folder / word for folder in folders for word in names if word and not PureWindowsPath(word).drive]
    if not Path(last).suffix:  # some tools leave it out
        candidates += [path for folder in folders for path in sorted(folder.glob(f"{glob.escape(last)}.*"))]
    return next((path for path in candidates if _is_image_file(path)), None)


def _is_image_file(path: Path) -> bool:
    try:
        return path.is_file() and path.suffix.lower() not in (".xml", ".txt")
    except (OSError, ValueError):
        return False  # not a name that a file could have
