"""Meaning: one sentence on a field of a configuration, beside it, for every help, reference and schema made of it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Meaning:
    """What a key without a flag of its own means, with its unit; a key with a flag has the flag's help.

    threads: Annotated[int | None, Meaning("Threads of one inference.")] = None
    """

    text: str
