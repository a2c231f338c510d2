"""constraints.txt: in step with pyproject.toml, for every Python, and free of any machine."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
EXTRAS = PROJECT["optional-dependencies"]
LOCK = [
    line for line in (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines() if not line.startswith("#")
]
# Nothing of theirs can break us: stubs for mypy, and the reader of version numbers, which counts by years.
UNBOUNDED = {"packaging", "types-psutil", "types-pyyaml"}


def canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def installed_by_make_test() -> list[Requirement]:
    """What pyproject.toml asks for with the extras cpu, openvino and dev, and with those that dev names."""
    wanted, todo = list(map(Requirement, PROJECT["dependencies"])), ["cpu", "openvino", "dev"]
    seen: set[str] = set()
    while todo:
        extra = todo.pop()
        seen.add(extra)
        for requirement in map(Requirement, EXTRAS[extra]):
            if requirement.name == "streamdet":
                todo.extend(requirement.extras - seen)
            else:
                wanted.append(requirement)
    return wanted


@pytest.mark.parametrize("python", ["3.11", "3.12", "3.13", "3.14"])
def test_every_requirement_has_one_locked_version_within_its_bounds(python: str) -> None:
    environment = {"python_version": python, "python_full_version": f"{python}.0", "sys_platform": "linux"}
    locked: dict[str, str] = {}
    for pin in map(Requirement, LOCK):
        if pin.marker is None or pin.marker.evaluate(environment):
            (version,) = pin.specifier
            assert version.operator == "=="
            assert canonical(pin.name) not in locked
            locked[canonical(pin.name)] = version.version
    for requirement in installed_by_make_test():
        assert requirement.specifier.contains(locked[canonical(requirement.name)]), f"{requirement}: run `make lock`"


def test_the_lock_names_no_registry_and_no_place() -> None:
    assert [line for line in LOCK if not re.fullmatch(r"[\w.-]+==[\w.+!]+( ; [\w\s.'<>=!()*]+)?", line)] == []


def test_every_dependency_is_bounded_above() -> None:
    every = [*PROJECT["dependencies"], *(each for extra in EXTRAS.values() for each in extra)]
    unbounded = {
        canonical(requirement.name)
        for requirement in map(Requirement, every)
        if not any(bound.operator == "<" for bound in requirement.specifier)
    }
    assert unbounded == UNBOUNDED | {"streamdet"}
