"""Keys that can be typed on a command line: the configuration → their flags."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple

from pydantic import BaseModel

from pipeline.app.config.run import RunConfig
from pipeline.app.options import Argument, Flag, TypeForm, flag_names


def marked_keys(section: type[BaseModel] = RunConfig, prefix: str = "") -> Iterator[MarkedKey]:
    """Every key of the configuration that can be typed on a command line."""
    for name, info in section.model_fields.items():
        if isinstance(info.annotation, type) and issubclass(info.annotation, BaseModel):
            yield from marked_keys(info.annotation, f"{prefix}{name}.")
        for mark in info.metadata:
            if isinstance(mark, Flag | Argument):
                yield MarkedKey(f"{prefix}{name}", info.annotation, info.default, mark)


class MarkedKey(NamedTuple):
    """A dotted key, its type, its default, and how it is typed."""

    key: str
    kind: TypeForm
    default: object
    mark: Flag | Argument


FLAGS: Mapping[str, str] = {
    marked.key: flag_names(marked.mark, marked.key)[0].partition("/")[0]
    for marked in marked_keys()
    if isinstance(marked.mark, Flag)
}


"""The flag of each key that has one."""
