"""The page of two sources in one browser, which the tests of a worker share."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

from tests.support.chromium import Tab, opened_tab, until
from tests.support.live_surface import FakeSurface, Writer, served

if TYPE_CHECKING:  # the extra may be missing
    from pipeline.serve.view import LiveView


@pytest.fixture(scope="package")
def view() -> LiveView:
    pytest.importorskip("uvicorn", reason="the extra serve is not installed")
    from pipeline.serve.view import LiveView, ViewOptions

    return LiveView(ViewOptions("door", ("cat", "dog")))


@pytest.fixture(scope="package")
def page_surface(view: LiveView) -> FakeSurface:
    from pipeline.serve.view import LiveView, ViewOptions

    return FakeSurface({"door": view, "yard": LiveView(ViewOptions("yard", ("cat", "dog")))})


@pytest.fixture(scope="package")
def writer(view: LiveView) -> Iterator[Writer]:
    with Writer(view) as writer:
        yield writer


@pytest.fixture(scope="package")
def tab(page_surface: FakeSurface, writer: Writer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tab]:
    with served(page_surface) as url, opened_tab(url, tmp_path_factory.mktemp("profile")) as tab:
        assert until(tab, "document.querySelectorAll('#class-list input').length === 2")
        assert until(tab, "document.querySelector('#detections tbody tr')")
        yield tab
