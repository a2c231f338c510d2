"""Network shape: the smallest size, in whole strides, in which a video is seen at the same scale."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from pipeline.picture.letterbox import Letterbox
from pipeline.picture.network_shape import STRIDE, shape_for

SIDE = st.integers(1, 5000)


@given(source_wh=st.tuples(SIDE, SIDE), side=st.integers(1, 40).map(lambda number: number * STRIDE))
def test_the_picture_has_the_same_scale_and_less_than_a_stride_of_padding(
    source_wh: tuple[int, int], side: int
) -> None:
    network_wh = (side, side)
    shape = shape_for(source_wh, network_wh, "letterbox-center")
    content = Letterbox.fit(source_wh, network_wh, "letterbox-center").content_wh
    assert Letterbox.fit(source_wh, shape, "letterbox-center").content_wh == content
    for length, filled in zip(shape, content, strict=True):
        assert length % STRIDE == 0
        assert filled <= length <= filled + STRIDE  # as what is filled was rounded


def test_a_network_that_stretches_or_is_filled_keeps_its_size() -> None:
    assert shape_for((1920, 1080), (300, 300), "stretch") == (300, 300)
    assert shape_for((640, 640), (416, 416), "letterbox-topleft") == (416, 416)
    assert shape_for((100, 1000), (333, 333), "letterbox-center") == (64, 333)  # no larger than it, whatever its stride
