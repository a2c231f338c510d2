"""H.264 without a decoder: bits, SPS and NAL units against libx264 and libav."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.serve.bits import BitReader, BitWriter
from pipeline.serve.h264 import NalFormat, has_b_slice, parameter_sets
from pipeline.serve.sps import escaped, parse_sps, unescaped, without_reordering
from tests.support.coded_videos import coded_video, frames_of, packets_of

FIELDS = st.one_of(
    st.tuples(st.just("u"), st.integers(0, 2**32 - 1)),
    st.tuples(st.just("ue"), st.integers(0, 2**32 - 2)),
    st.tuples(st.just("se"), st.integers(-(2**31) + 1, 2**31 - 1)),
)


@given(st.lists(FIELDS))
def test_what_is_written_is_read(fields: list[tuple[str, int]]) -> None:
    writer = BitWriter()
    for kind, value in fields:
        writer.u(value, 32) if kind == "u" else getattr(writer, kind)(value)
    reader = BitReader(writer.with_stop_bit())
    assert [(kind, reader.u(32) if kind == "u" else getattr(reader, kind)()) for kind, _ in fields] == fields
    assert reader.u(1) == 1


def test_a_torn_code_is_an_error() -> None:
    with pytest.raises(ValueError, match="within the 8 bits"):
        BitReader(b"\0").ue()
    with pytest.raises(ValueError, match="at most 32 zeros"):
        BitReader(bytes(6)).ue()


@given(st.lists(st.sampled_from([0, 0, 0, 1, 2, 3, 4, 255])).map(bytes))
def test_escaping_is_undone_and_leaves_no_start_code(rbsp: bytes) -> None:
    nal = escaped(rbsp + b"\x80")  # as every NAL unit, it does not end in zeros
    assert unescaped(nal) == rbsp + b"\x80"
    assert not any(code in nal for code in (b"\0\0\0", b"\0\0\1", b"\0\0\2"))


@st.composite
def made_sps(draw: st.DrawFn) -> tuple[bytes, dict[str, Any]]:
    """An SPS of any syntax, and what it says."""
    flag, small = st.integers(0, 1), st.integers(0, 4)
    writer = BitWriter()
    profile = draw(st.sampled_from([66, 77, 100, 110]))
    width_mbs, rows = draw(st.integers(2, 300)), draw(st.integers(2, 300))
    is_progressive, num_ref = draw(flag), draw(st.integers(0, 16))
    for value in (0x67, profile, draw(st.integers(0, 255)), draw(st.sampled_from([10, 31, 51]))):
        writer.u(value, 8)
    writer.ue(draw(small))
    if profile >= 100:
        for value in (1, 0, 0):
            writer.ue(value)
        writer.u(0, 1)
        writer.u(has_lists := draw(flag), 1)
        for index in range(8 if has_lists else 0):
            writer.u(has_list := draw(flag), 1)
            deltas = draw(st.lists(st.integers(-3, 3), min_size=64, max_size=64)) if has_list else []
            last = following = 8
            for delta in deltas[: 16 if index < 6 else 64]:
                if following:
                    writer.se(delta)
                    following = (last + delta) % 256
                last = following or last
    writer.ue(draw(small))
    writer.ue(order := draw(st.integers(0, 2)))
    if order == 0:
        writer.ue(draw(small))
    elif order == 1:
        writer.u(draw(flag), 1)
        writer.se(draw(small))
        writer.se(-draw(small))
        offsets = draw(st.lists(st.integers(-9, 9), max_size=4))
        writer.ue(len(offsets))
        for offset in offsets:
            writer.se(offset)
    writer.ue(num_ref)
    writer.u(draw(flag), 1)
    writer.ue(width_mbs - 1)
    writer.ue(rows - 1)
    writer.u(is_progressive, 1)
    if not is_progressive:
        writer.u(draw(flag), 1)
    writer.u(draw(flag), 1)
    crop = draw(small)
    writer.u(1, 1)
    for value in (0, crop, 0, crop):
        writer.ue(value)
    reorder = _write_vui(writer, draw)
    size_wh = (16 * width_mbs - 2 * crop, (16 * rows - 2 * crop) * (2 - is_progressive))
    said = {
        "profile_idc": profile,
        "size_wh": size_wh,
        "is_progressive": bool(is_progressive),
        "num_ref_frames": num_ref,
        "num_reorder_frames": reorder,
    }
    return escaped(writer.with_stop_bit()), said


def _write_vui(writer: BitWriter, draw: st.DrawFn) -> int | None:
    flag = st.integers(0, 1)
    writer.u(has_vui := draw(flag), 1)
    if not has_vui:
        return None
    writer.u(has_aspect := draw(flag), 1)
    if has_aspect:
        writer.u(idc := draw(st.sampled_from([1, 255])), 8)
        writer.u(0x00100011, 32) if idc == 255 else None
    for num_bits in (1, 4):
        writer.u(is_there := draw(flag), 1)
        writer.u(0, num_bits) if is_there else None
        if num_bits == 4 and is_there:
            writer.u(has_colours := draw(flag), 1)
            writer.u(0x010101, 24) if has_colours else None
    writer.u(has_chroma := draw(flag), 1)
    for _ in range(2 * has_chroma):
        writer.ue(3)
    writer.u(has_timing := draw(flag), 1)
    if has_timing:
        for value, num_bits in ((1, 32), (50, 32), (1, 1)):
            writer.u(value, num_bits)
    hrds = [draw(flag), draw(flag)]
    for is_there in hrds:
        writer.u(is_there, 1)
        if is_there:
            writer.ue(1)
            writer.u(0, 8)
            for _ in range(2):
                writer.ue(999)
                writer.ue(5)
                writer.u(0, 1)
            writer.u(7, 20)
    if any(hrds):
        writer.u(draw(flag), 1)
    writer.u(0, 1)
    writer.u(is_restricted := draw(flag), 1)
    if not is_restricted:
        return None
    writer.u(1, 1)
    reorder = draw(st.integers(0, 16))
    for value in (2, 1, 16, 16, reorder, 16):
        writer.ue(value)
    return reorder


@settings(deadline=None)
@given(made_sps())
def test_an_sps_is_read_and_only_its_reordering_is_changed(made: tuple[bytes, dict[str, Any]]) -> None:
    nal, said = made
    before, after = parse_sps(nal), parse_sps(without_reordering(nal))
    assert {name: getattr(before, name) for name in said} == said
    assert after.num_reorder_frames == 0
    assert {name: getattr(after, name) for name in list(said)[:4]} == {name: said[name] for name in list(said)[:4]}
    kept = before.vui_at if before.restriction_at is None else before.restriction_at
    first, second = (BitReader(unescaped(unit)).u(kept) for unit in (nal, without_reordering(nal)))
    assert first == second
    assert without_reordering(without_reordering(nal)) == without_reordering(nal)


@given(made_sps(), st.integers(0, 40))
def test_a_torn_sps_is_a_value_error(made: tuple[bytes, dict[str, Any]], num_bytes: int) -> None:
    try:
        parse_sps(made[0][:num_bytes])
    except ValueError:
        pass


def packets(content: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Extradata and each packet."""
    for stream, packet in packets_of(content):
        yield bytes(stream.codec_context.extradata or b""), bytes(packet)


@pytest.mark.parametrize("container", ["mp4", "mpegts"])
@pytest.mark.parametrize("size_wh", [(64, 48), (322, 242)])
def test_the_sps_of_libx264_has_its_size(container: str, size_wh: tuple[int, int]) -> None:
    extradata, first = next(packets(coded_video(container, size_wh=size_wh, num_frames=3)))
    sets = parameter_sets(NalFormat(extradata).header_units() or NalFormat(extradata).units(first))
    assert sets is not None
    assert sets.first_sps.size_wh == size_wh
    assert sets.first_sps.codec_string.startswith("avc1.64")


@pytest.mark.parametrize("num_b_frames", [0, 2])
def test_b_slices_are_seen(num_b_frames: int) -> None:
    content = coded_video("mp4", num_frames=12, num_b_frames=num_b_frames)
    seen = [has_b_slice(NalFormat(extradata).units(data)) for extradata, data in packets(content)]
    assert any(seen) == (num_b_frames > 0)


@given(st.binary(max_size=80), st.booleans())
def test_any_bytes_are_taken_apart_without_an_error(data: bytes, is_avcc: bool) -> None:
    units = NalFormat(b"\1\x64\0\x1f\xff\xe0\0\0" if is_avcc else b"").units(data)
    has_b_slice(units)
    assert all(unit in data for unit in units)


def test_pictures_of_the_fixture_differ() -> None:
    first, second = (frame.to_ndarray() for frame in frames_of(coded_video("mp4", num_frames=2)))
    assert np.abs(first.astype(int) - second).max() > 20
