"""The requirements of the installed streamdet: its declared bounds → packages that are missing or out of them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from importlib import metadata

from packaging.requirements import Requirement

_FOR_RUNNING = ("", "cpu", "cuda", "openvino", "tensorrt")  # extras; the others are for tools beside `run`


@dataclass(frozen=True, slots=True)
class Unmet:
    """A package that is missing, or installed in a version outside our bounds."""

    requirement: Requirement
    version: str | None  # None: not installed
    is_needed: bool  # by `run`

    @property
    def cure(self) -> str:
        """One line: what must hold, what is there, and the way out."""
        there = "is not installed" if self.version is None else f"is installed in version {self.version}"
        bounded = f"{self.requirement.name}{self.requirement.specifier}"
        return f'streamdet needs {bounded}, which {there}: pip install "{bounded}"'


def unmet_requirements(requirements: Iterable[str]) -> Iterator[Unmet]:
    """Those that do not hold on this machine. Of an extra only packages that are installed count."""
    for requirement in map(Requirement, requirements):
        extra = _extra_of(requirement)
        if requirement.name == "streamdet" or not (
            requirement.marker is None or requirement.marker.evaluate({"extra": extra})
        ):
            continue
        try:
            version = metadata.version(requirement.name)
        except metadata.PackageNotFoundError:
            if not extra:
                yield Unmet(requirement, None, is_needed=True)
            continue
        if not requirement.specifier.contains(version, prereleases=True):
            yield Unmet(requirement, version, is_needed=extra in _FOR_RUNNING)


def declared_requirements() -> list[str] | None:
    """What the installed streamdet asks for; None where it runs from its sources without being installed."""
    try:
        return metadata.requires("streamdet") or []
    except metadata.PackageNotFoundError:
        return None


def requirement_of(name: str) -> str:
    """A package with the bounds that streamdet declares for it, as pip takes it."""
    declared = (Requirement(text) for text in declared_requirements() or ())
    return next((f"{row.name}{row.specifier}" for row in declared if row.name == name), name)


def _extra_of(requirement: Requirement) -> str:
    match = re.search(r"""extra == ['"]([\w-]+)""", str(requirement.marker or ""))
    return match[1] if match else ""
