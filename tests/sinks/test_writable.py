"""Folders of outputs: refused before the work begins where no file can be made, and untouched by the trial."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline.errors import SinkError
from pipeline.sinks.annotated import AnnotatedFolder
from pipeline.sinks.crops import Crops
from pipeline.sinks.events.snapshots import Snapshots
from pipeline.sinks.frame_condition import frame_condition
from pipeline.sinks.labels.formats import FORMATS
from pipeline.sinks.picture_names import PictureNames
from pipeline.sinks.saved_frames import SavedFrames
from pipeline.sinks.writable import refuse_unwritable_folder

SINKS: dict[str, Callable[[Path], object]] = {
    "snapshots": Snapshots,
    "crops": Crops,
    "saved frames": lambda path: SavedFrames(path, frame_condition("any", ["cat"], flag="x"), names=PictureNames()),
    "annotated pictures": lambda path: AnnotatedFolder(path, names=PictureNames(), record=lambda _: pytest.fail("?")),
    **{f"{name} labels": kind for name, kind in FORMATS.items()},
}


@pytest.mark.skipif(sys.platform != "linux", reason="a folder in which not even root can write is one of Linux")
@pytest.mark.parametrize("name", SINKS)
def test_a_folder_in_which_permissions_do_not_say_that_nothing_can_be_made_is_refused(name: str) -> None:
    for folder in ("/proc/nothing", "/proc/nothing/below"):
        with pytest.raises(SinkError, match=f"^{folder}: .* cannot be written there: "):
            SINKS[name](Path(folder))


def test_the_trial_leaves_nothing_and_touches_nothing(tmp_path: Path) -> None:
    (tmp_path / "kept.txt").write_text("kept")
    for folder in (tmp_path, tmp_path / "new", tmp_path / "new" / "below"):
        refuse_unwritable_folder(folder, "crops")
    assert [path.name for path in tmp_path.iterdir()] == ["kept.txt"]


def test_a_file_in_its_way_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(SinkError, match=r"crops must be written into a folder, and .*file is a file$"):
        refuse_unwritable_folder(tmp_path / "file" / "below", "crops")
