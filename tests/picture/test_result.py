"""Result: it says what was found, draws itself, is written, cropped and shown in a notebook."""

from __future__ import annotations

import base64
import html
import re
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pytest

from pipeline.errors import SinkError
from pipeline.picture import display
from pipeline.picture.crops import crops_of
from pipeline.picture.detections import Detections, Result
from pipeline.picture.drawing import draw_result
from pipeline.picture.frame import Frame
from pipeline.picture.image_file import WRITTEN_SUFFIXES, encoded
from tests.support.pictures import difference, noise, smooth

NAMES = ("person", "bus", "bus")
Row = tuple[float, float, float, float, float, int]
ROWS: list[Row] = [(10, 10, 60, 50, 0.9, 0), (30, 20, 90, 70, 0.8, 1), (5, 5, 20, 20, 0.7, 0), (1, 1, 9, 9, 0.6, 2)]


def result_of(rows: list[Row], *, size_wh: tuple[int, int] = (120, 80), **of_frame: Any) -> Result:
    table = np.array(rows, np.float32).reshape(-1, 6)
    detections = Detections(table[:, :4], table[:, 4].copy(), table[:, 5].astype(np.int64))
    return Result(Frame.from_pixels(smooth(*size_wh), **of_frame), detections, NAMES)


def test_it_says_in_one_line_what_was_found_and_where() -> None:
    assert str(result_of(ROWS[:3], image="photos/bus.jpg")) == "2 person, 1 bus in photos/bus.jpg (120×80)"
    video = result_of(ROWS[1:2], source_id="street.mp4", index=12)
    assert str(video) == "1 bus in street.mp4, frame 12 (120×80)"
    assert repr(video) == "<Result: 1 bus in street.mp4, frame 12 (120×80)>"
    assert str(result_of([])) == "nothing in frame 0 (120×80)"


def test_it_is_one_line_that_can_be_printed_whatever_the_names_are() -> None:
    line = str(Result(result_of([], image="a\nb\udcff.jpg").frame, result_of(ROWS[:1]).detections, ("x\n\ty",)))
    assert line == "1 x y in a b?.jpg (120×80)"
    assert line.encode()


def test_classes_are_counted_by_name_the_most_frequent_first() -> None:
    assert result_of(ROWS).counts() == {"person": 2, "bus": 2}  # two classes have the name bus
    assert list(result_of([*ROWS[1:], (2, 2, 8, 8, 0.5, 7), *ROWS[1:2]]).counts()) == ["bus", "person", "class 7"]
    assert result_of([]).counts() == {}


def test_a_plot_is_what_a_run_draws_on_a_copy() -> None:
    result = result_of(ROWS)
    canvas = result.frame.pixels.copy()
    draw_result(canvas, result, scores=False)
    plot = result.plot(scores=False)
    assert np.array_equal(plot, canvas)
    assert not np.array_equal(plot, result.plot())
    plot[:] = 0
    assert np.array_equal(result.frame.pixels, smooth(120, 80))


@pytest.mark.parametrize("suffix", WRITTEN_SUFFIXES)
def test_it_is_written_in_the_format_of_the_suffix(tmp_path: Path, suffix: str) -> None:
    if not cv2.haveImageWriter(f"x{suffix}"):
        pytest.skip(f"this OpenCV writes no {suffix}")
    path = result_of(ROWS).save(tmp_path / "new folder" / f"naïve % '1' 日本{suffix.upper()}")
    pixels = cv2.imdecode(np.frombuffer(path.read_bytes(), np.uint8), cv2.IMREAD_COLOR)
    assert pixels is not None
    assert difference(np.asarray(pixels, np.uint8), result_of(ROWS).plot()) < 6
    assert list(path.parent.iterdir()) == [path]


def test_lossless_formats_keep_every_pixel(tmp_path: Path) -> None:
    path = result_of(ROWS).save(str(tmp_path / "a.png"))
    assert np.array_equal(np.asarray(cv2.imread(str(path))), result_of(ROWS).plot())


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("bus.gif", r"bus\.gif: a picture's name must end in \.jpg, .*, got \.gif$"),
        ("bus", "must end in .*, got none$"),
        ("-", "must end in .*, got none$"),
        ("file.jpg/bus.png", r"file\.jpg/bus\.png: the picture cannot be written there: "),
        ("folder.png", r"folder\.png: the picture cannot be written there: Is a directory$"),
        ("zero\0byte.png", "the picture cannot be written there: embedded null byte$"),
        ("~nobody-of-this-name/a.png", "this home folder is not known; write the path in full$"),
        ("https://u:secret@host/a.png", "a picture must have a path on this machine, got an address$"),
        (None, "a picture must have a path, got NoneType$"),
    ],
)
def test_what_cannot_be_written_is_one_line_and_nothing_is_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: Any, reason: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file.jpg").write_bytes(b"kept")
    (tmp_path / "folder.png").mkdir()
    with pytest.raises(SinkError, match=reason):
        result_of(ROWS).save(name)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file.jpg", "folder.png"]
    assert (tmp_path / "file.jpg").read_bytes() == b"kept"


def test_the_file_that_it_was_read_from_is_not_overwritten_under_any_name(tmp_path: Path) -> None:
    photo, link = tmp_path / "photo.png", tmp_path / "link.png"
    photo.write_bytes(b"an image")
    link.symlink_to(photo)
    result = result_of(ROWS, image=str(photo))
    for path in (photo, link):
        with pytest.raises(SinkError, match="must not overwrite the one that it was drawn on; take another name"):
            result.save(path)
    assert photo.read_bytes() == b"an image"
    result.save(tmp_path / "other.png")
    result.save(tmp_path / "other.png")


def test_a_picture_that_is_too_large_for_its_format_is_refused_in_words() -> None:
    with pytest.raises(
        SinkError, match=r"^\.jpg holds pictures of up to 65500 pixels a side, got 65501×1; take \.png$"
    ):
        encoded(np.zeros((1, 65501, 3), np.uint8), ".jpg")
    with pytest.raises(SinkError, match=r"16383 pixels a side, got 1×16384"):
        encoded(np.zeros((16384, 1, 3), np.uint8), ".webp")


def test_a_crop_has_every_pixel_that_its_box_touches() -> None:
    pixels = noise(60, 40)
    (crop,) = crops_of(pixels, np.array([[10.5, 3.0, 20.1, 7.0]], np.float32))
    assert np.array_equal(crop, pixels[3:7, 10:21])
    crop[:] = 0
    assert np.array_equal(pixels, noise(60, 40))


def test_there_is_a_crop_for_every_box_wherever_it_is() -> None:
    boxes = [(-50, -9, 3.2, 2, 1, 0), (55, 30, 1e30, 90, 1, 0), (20, 9, 20, 9, 1, 0), (70, 50, 80, 60, 1, 0)]
    crops = crops_of(noise(60, 40), np.array(boxes, np.float32)[:, :4])
    assert [crop.shape for crop in crops] == [(2, 4, 3), (10, 5, 3), (1, 1, 3), (1, 1, 3)]
    assert np.array_equal(crops[3], noise(60, 40)[39:, 59:])
    assert result_of([]).crops() == []
    assert len(result_of(ROWS).crops()) == 4


def test_a_notebook_shows_picture_and_table_and_nothing_that_a_name_smuggles_in() -> None:
    result = result_of(ROWS, image="<script>alert('x')</script>.jpg")
    page = Result(result.frame, result.detections, ("<b>person", "bus"))._repr_html_()
    assert "<script" not in page
    assert "<td>&lt;b&gt;person</td><td>0.90</td><td>10</td><td>10</td><td>60</td><td>50</td>" in page
    assert html.escape(str(result)).partition(" in ")[2] in page
    (encoded_jpeg,) = re.findall(r'src="data:image/jpeg;base64,([^"]+)"', page)
    jpeg = base64.b64decode(encoded_jpeg)
    assert cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR).shape == (80, 120, 3)  # type: ignore[union-attr]


def test_a_cell_stays_small_however_large_the_picture_and_long_the_list() -> None:
    result = result_of(ROWS * 10, size_wh=(4000, 1000))
    jpeg = result._repr_jpeg_()
    assert cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR).shape == (240, 960, 3)  # type: ignore[union-attr]
    page = result._repr_html_()
    assert page.count("<tr>") == 21
    assert "<p>… and 20 more</p>" in page
    assert "<table>" not in result_of([])._repr_html_()


def test_without_a_display_show_says_what_to_do() -> None:
    with pytest.raises(SinkError, match=r"^there is no display to show a window on; write it to a file with \.save"):
        result_of(ROWS).show()


@pytest.mark.parametrize(("keys", "is_open"), [([-1, -1, ord("x")], [1.0, 1.0]), ([-1, -1], [1.0, 0.0])])
def test_a_window_stays_until_a_key_or_its_end(
    monkeypatch: pytest.MonkeyPatch, keys: list[int], is_open: list[float]
) -> None:
    """Without a screen: what OpenCV answers is played back."""
    calls: list[str] = []
    images: dict[str, Any] = {}
    monkeypatch.setenv("DISPLAY", ":0")
    monkeypatch.setattr(display, "_reaches_x_server", lambda: True)
    monkeypatch.setattr(sys, "modules", {name: module for name, module in sys.modules.items() if name != "av"})
    monkeypatch.setattr(cv2, "namedWindow", lambda title, flags: calls.append(f"open {title}"))
    monkeypatch.setattr(cv2, "resizeWindow", lambda title, width, height: calls.append(f"{width}×{height}"))
    monkeypatch.setattr(cv2, "imshow", images.__setitem__)
    monkeypatch.setattr(cv2, "waitKey", lambda milliseconds: keys.pop(0))
    monkeypatch.setattr(cv2, "getWindowProperty", lambda title, kind: is_open.pop(0))
    monkeypatch.setattr(cv2, "destroyWindow", lambda title: calls.append("close"))
    result = result_of(ROWS, size_wh=(3200, 100))
    result.show()
    assert calls == [f"open {result}", "1600×50", "close"]
    assert np.array_equal(images[str(result)], result.plot())
    assert keys == is_open == []


def test_in_a_notebook_show_puts_the_picture_below_the_cell(monkeypatch: pytest.MonkeyPatch) -> None:
    """IPython stands in for itself, which is not installed: its two functions, as its documentation has them."""
    shown: list[tuple[dict[str, str], bool]] = []
    shows = SimpleNamespace(display=lambda data, raw: shown.append((data, raw)))
    shell = SimpleNamespace(get_ipython=lambda: SimpleNamespace(kernel=object()), display=shows)
    monkeypatch.setitem(sys.modules, "IPython", shell)
    result = result_of(ROWS)
    result.show()
    assert shown == [({"image/jpeg": base64.b64encode(result._repr_jpeg_()).decode(), "text/plain": str(result)}, True)]
    shell.get_ipython = lambda: SimpleNamespace()  # the IPython of a terminal
    with pytest.raises(SinkError, match="no display"):
        result.show()
