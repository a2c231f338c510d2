"""Options of `streamdet config`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from pipeline.app.options import Argument, Flag


@dataclass(frozen=True, slots=True)
class ConfigOptions:
    """List the keys of the configuration: what each means, its default, and what it takes.

    KEY is a key, a section, or a beginning: engine, flow.mode, threads. Without one, all are listed, and the presets.
    """

    keys: Annotated[tuple[str, ...], Argument("Only these keys or sections.", "KEY...")] = ()
    preset: Annotated[str | None, Flag("Print one of the presets of --config.", metavar="NAME")] = None
    yaml: Annotated[bool, Flag("Print all keys with their defaults, as a file to begin with.")] = False
    schema: Annotated[bool, Flag("Print a JSON schema, by which editors complete and check such a file.")] = False
