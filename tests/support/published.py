"""Published models: files of a test → rows that stand in for the table, with the files' own sizes and hashes."""

from __future__ import annotations

import hashlib
import os
from dataclasses import replace
from pathlib import Path

import pytest

from pipeline.detector import published
from pipeline.detector.published import PublishedModel

ROOT = Path(__file__).parents[2]


def row_for(name: str, path: Path, *, address: str | None = None) -> PublishedModel:
    """The row of the table under a name, of which this is the file, at this address."""
    row = next(model for model in published.PUBLISHED if model.name == name)
    content = path.read_bytes()
    return replace(
        row,
        num_bytes=len(content),
        sha256=hashlib.sha256(content).hexdigest(),
        address=row.address if address is None else address,
    )


def publish(monkeypatch: pytest.MonkeyPatch, *rows: PublishedModel) -> None:
    """Put rows in the places of those with their names."""
    by_name = {row.name: row for row in rows}
    monkeypatch.setattr(published, "PUBLISHED", tuple(by_name.get(row.name, row) for row in published.PUBLISHED))


def publish_in_children(monkeypatch: pytest.MonkeyPatch, folder: Path, *rows: PublishedModel) -> None:
    """The same in every Python that is started from now on, by a module in the folder that Python imports first."""
    values = {row.name: {"num_bytes": row.num_bytes, "sha256": row.sha256} for row in rows}
    folder.mkdir(exist_ok=True)
    (folder / "sitecustomize.py").write_text(
        "from dataclasses import replace\n"
        "from pipeline.detector import published\n"
        f"values = {values!r}\n"
        "published.PUBLISHED = tuple(replace(row, **values.get(row.name, {})) for row in published.PUBLISHED)\n"
    )
    before = [path for path in (os.environ.get("PYTHONPATH"),) if path]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join((str(folder), str(ROOT), *before)))
