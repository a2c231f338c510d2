"""Published detectors: a name → where its ONNX file is published, how it is checked, and what its authors say of it.

The addresses and hashes are as several public repositories pin them; AP is COCO's, in percent, as published.
"""

from __future__ import annotations

import functools
import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

from pipeline.detector.heads.hints import Hints
from pipeline.detector.heads.recipes import LESS_IMAGENETS_MEAN, ZERO_TO_ONE, Recipe
from pipeline.picture.coco import COCO_80, COCO_91

_CHUNK_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class PublishedModel:
    """A detector whose ONNX file its authors, or others with their leave, publish.

    megabytes: of the file, about; num_bytes: exactly, None where nobody has noted it.
    sha256: of the file, None where nobody has noted it: it is remembered when the file comes first.
    hints: what the file does not say of itself.
    """

    name: str
    address: str
    megabytes: float
    network_wh: tuple[int, int]
    ap: float
    licence: str = "Apache-2.0"
    num_bytes: int | None = None
    sha256: str | None = None
    hints: Hints | None = None

    @property
    def file_names(self) -> tuple[str, ...]:
        """The names under which a mirror may have the file: ours first, then the one that it is published under."""
        published = urlsplit(self.address).path.rpartition("/")[2]
        ours = f"{self.name}.onnx"
        return (ours,) if published in (ours, "model.onnx") else (ours, published)

    @property
    def source(self) -> str:
        """The host and the project that publish it."""
        parts = urlsplit(self.address)
        return "/".join((parts.netloc, *parts.path.strip("/").split("/")[:2]))

    @property
    def publisher(self) -> str:
        """Who publishes it, as the address calls them."""
        return self.source.split("/")[1]

    @property
    def size_in_words(self) -> str:
        """3.7 MB."""
        return f"{self.megabytes:.1f} MB" if self.megabytes < 10 else f"{self.megabytes:.0f} MB"


_YOLOX = "https://github.com/Megvii-BaseDetection/YOLOX/releases/download/0.1.1rc0"
_ONNX_COMMUNITY = "https://huggingface.co/onnx-community"


def _detr_hints(side: int, recipe: Recipe, class_names: tuple[str, ...], *, first_class_id: Literal[0, 1]) -> Hints:
    return Hints(
        head="detr",
        network_wh=(side, side),
        resize="stretch",
        colour=recipe.colour,
        mean=recipe.mean,
        std=recipe.std,
        box_format="cxcywh",
        boxes_are_normalised=True,
        score_activation="sigmoid",
        first_class_id=first_class_id,
        class_names=class_names,
    )


def _dfine(size: str, revision: str, num_bytes: int, sha256: str, ap: float) -> PublishedModel:
    return PublishedModel(
        f"dfine-{size}",
        f"{_ONNX_COMMUNITY}/dfine_{size}_coco-ONNX/resolve/{revision}/onnx/model.onnx",
        num_bytes / 1e6,
        (640, 640),
        ap,
        num_bytes=num_bytes,
        sha256=sha256,
        hints=_detr_hints(640, ZERO_TO_ONE, COCO_80, first_class_id=0),
    )


def _rfdetr(size: str, side: int, revision: str, num_bytes: int, sha256: str, ap: float) -> PublishedModel:
    """One whose classes are COCO's category ids, and whose boxes are right at one size only."""
    return PublishedModel(
        f"rfdetr-{size}",
        f"{_ONNX_COMMUNITY}/rfdetr_{size}-ONNX/resolve/{revision}/onnx/model.onnx",
        num_bytes / 1e6,
        (side, side),
        ap,
        num_bytes=num_bytes,
        sha256=sha256,
        hints=_detr_hints(side, LESS_IMAGENETS_MEAN, COCO_91, first_class_id=1),
    )


def _yolox(size: str, megabytes: float, side: int, ap: float, sha256: str | None = None) -> PublishedModel:
    """One that is recognised from its outputs alone."""
    return PublishedModel(f"yolox-{size}", f"{_YOLOX}/yolox_{size}.onnx", megabytes, (side, side), ap, sha256=sha256)


PUBLISHED: tuple[PublishedModel, ...] = (
    _yolox("nano", 3.7, 416, 25.8, "c789161ed43c8269fcd4e67c67eeeb4e80c622da2eb296a20bc6007bd18a0b7d"),
    _yolox("tiny", 20.2, 416, 32.8, "427cc366d34e27ff7a03e2899b5e3671425c262ea2291f88bb942bc1cc70b0f7"),
    _yolox("s", 36, 640, 40.5),
    _yolox("m", 101, 640, 47.2),
    _yolox("l", 217, 640, 50.1),
    _yolox("x", 396, 640, 51.5),
    _dfine(
        "n",
        "380d2839c327efaf65dd0fe0c2c10ab7fadd5473",
        15_258_358,
        "0f684f409618ee8a822410e754a29caa817d1aa16283ce89cad936d0a48e2f35",
        42.8,
    ),
    _dfine(
        "s",
        "a3cf03147a9b86c78475139115c8ac142577352d",
        41_535_197,
        "cd8a49a945feda6d28c6304ae8ae85c2759ba1d78a5a83a22c5ce8db82ef7238",
        48.5,
    ),
    _dfine(
        "m",
        "489756db2825cb068a588fe930af239a656d1fe1",
        78_624_257,
        "70aaa837978a06ba44ad17398c7079ae5a1a7b1a9032b5d7053981e1ada02d6b",
        52.3,
    ),
    _rfdetr(
        "nano",
        384,
        "eae21cee0687a91bcf9fa071605c48d7705d2d91",
        108_074_865,
        "9cbac6b11ce34a03034e4d5a24cfac5f18632fd6761d1311dd640232088d7fee",
        48.4,
    ),
    _rfdetr(
        "small",
        512,
        "63463b68b200177d1fea7015f11f3cebb0ba4eeb",
        114_680_416,
        "121cc1476a7b69d865ca4bdc2bca59a3239020d227e4c3f35a811bef81aeb7f1",
        53.0,
    ),
)
"""Every detector that a name stands for."""


def published_models() -> tuple[PublishedModel, ...]:
    """Every row, the smallest first."""
    return PUBLISHED


def published_model(name: str) -> PublishedModel | None:
    """The row of a name, None for any other word."""
    return next((model for model in PUBLISHED if model.name == name), None)


def published_as(path: Path) -> PublishedModel | None:
    """The row whose file this is, by size and SHA-256, wherever it lies and whatever it is called."""
    try:
        num_bytes = path.stat().st_size
    except OSError:
        return None
    same_size = [model for model in PUBLISHED if model.sha256 and model.num_bytes == num_bytes]
    return next((model for model in same_size if model.sha256 == sha256_of(path)), None)


def hints_for(path: Path, hints: Hints) -> Hints:
    """A user's hints, and below them those of the row whose file this is, unless the user names another head."""
    model = published_as(path)
    if model is None or model.hints is None or hints.head not in (None, model.hints.head):
        return hints
    return hints.over(model.hints, origin=f"as {model.name} is published")


def sha256_of(path: Path) -> str:
    """SHA-256 of a file's bytes; computed anew only where the file has changed. Raises OSError."""
    status = path.stat()
    return _sha256_of(path.resolve(), status.st_size, status.st_mtime_ns, status.st_ino)


@functools.lru_cache(maxsize=64)
def _sha256_of(path: Path, *_: int) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()
