"""Labelled data: a word of `--data` → its labelled images, or frames of drawn traffic with their truth."""

from __future__ import annotations

from pathlib import Path

from pipeline.accuracy.opening import open_labelled, with_images
from pipeline.accuracy.truth import LabelledData, LabelledImage, Truth
from pipeline.errors import ConfigError
from pipeline.sources.opening import open_source
from pipeline.sources.source import HasGroundTruth
from pipeline.sources.words import is_drawn


def labelled(
    word: str, folder: Path | None = None, *, max_images: int | None = None, needs_images: bool = True
) -> LabelledData:
    """The images of a word, at most `max_images`, read from `folder` or from where they usually are.

    needs_images: False where the labels are enough, so that images may be missing. Raises ConfigError for a word
    that means nothing labelled.
    """
    if is_drawn(word):
        return drawn_data(word, max_images=max_images)
    data = open_labelled(word).first(max_images)
    return with_images(data, folder) if needs_images else data


def drawn_data(word: str, *, max_images: int | None = None) -> LabelledData:
    """The frames of drawn traffic; objects too small or too hidden to be found are ignored.

    Raises ConfigError for traffic that never ends, unless `max_images` does.
    """
    source = open_source(word)
    assert isinstance(source, HasGroundTruth), word
    num = min((limit for limit in (source.num_frames, max_images) if limit is not None), default=None)
    if num is None:
        raise ConfigError(f"{word} must end: give it seconds=20, or --max-images")
    rate = source.frames_per_second
    images = tuple(
        LabelledImage(
            f"frame {index}",
            index,
            Truth.of(source.truth(index), source.ignored(index)),
            source.size_wh,
            pts_seconds=None if rate is None else index / rate,
        )
        for index in range(num)
    )
    source.close()
    return LabelledData(word, source.class_names, tuple(range(len(source.class_names))), images)
