"""SPS: the sequence parameter set of H.264 → its size and profile, and the same without a reorder buffer.

Chrome holds back as many pictures as an SPS allows to be reordered. Many cameras do not say that it is none, so that
16 pictures are held, which are seconds. Syntax: ISO/IEC 14496-10, 7.3.2.1.1 and annex E.1.
"""

from __future__ import annotations

from dataclasses import dataclass

from pipeline.serve.bits import BitReader, BitWriter

_HIGH_PROFILES = frozenset((100, 110, 122, 244, 44, 83, 86, 118, 128, 138, 139, 134, 135))
_EXTENDED_SAR = 255
_MOST_LISTED = 255  # offsets of a picture order count, and HRD schedules: what the standard allows at most


@dataclass(frozen=True, slots=True)
class Sps:
    """What an SPS says. The last three are None where it does not say so."""

    profile_idc: int
    constraints: int  # the byte of constraint_set flags
    level_idc: int
    chroma_format_idc: int  # 1: 4:2:0
    bit_depth: int  # of luma
    num_ref_frames: int
    coded_wh: tuple[int, int]  # whole macroblocks, before cropping
    size_wh: tuple[int, int]  # in pixels
    is_progressive: bool  # whether every picture is a whole frame
    vui_at: int  # the bit of vui_parameters_present_flag
    restriction_at: int | None = None  # the bit of bitstream_restriction_flag
    num_reorder_frames: int | None = None
    max_dec_frame_buffering: int | None = None

    @property
    def codec_string(self) -> str:
        """As browsers want it (RFC 6381): avc1.64001f."""
        return f"avc1.{self.profile_idc:02x}{self.constraints:02x}{self.level_idc:02x}"


def parse_sps(nal: bytes) -> Sps:
    """The SPS in a NAL unit, header byte included. Raises ValueError for what is none."""
    rbsp = unescaped(nal)
    if len(rbsp) < 5 or rbsp[0] & 0x1F != 7:
        raise ValueError(f"an SPS must be a NAL unit of type 7, got {nal[:5].hex() or 'nothing'}")
    reader = BitReader(rbsp)
    reader.u(8)
    profile, constraints, level = reader.u(8), reader.u(8), reader.u(8)
    reader.ue()  # seq_parameter_set_id
    chroma, bit_depth = _chroma_and_depth(reader) if profile in _HIGH_PROFILES else (1, 8)
    reader.ue()  # log2_max_frame_num_minus4
    _skip_picture_order(reader)
    num_ref_frames = reader.ue()
    reader.u(1)  # gaps_in_frame_num_value_allowed_flag
    width, num_rows = 16 * (reader.ue() + 1), reader.ue() + 1
    is_progressive = bool(reader.u(1))
    if not is_progressive:
        reader.u(1)  # mb_adaptive_frame_field_flag
    height = 16 * num_rows * (1 if is_progressive else 2)
    reader.u(1)  # direct_8x8_inference_flag
    cropped = [reader.ue() for _ in range(4)] if reader.u(1) else [0, 0, 0, 0]
    step_x = 2 if chroma in (1, 2) else 1
    step_y = (2 if chroma == 1 else 1) * (1 if is_progressive else 2)
    size_wh = (width - step_x * (cropped[0] + cropped[1]), height - step_y * (cropped[2] + cropped[3]))
    if min(size_wh) < 1:
        raise ValueError(f"an SPS must leave a picture, got {size_wh[0]}×{size_wh[1]}")
    vui_at = reader.position
    at, reordered, buffered = _restriction(reader) if reader.u(1) else (None, None, None)
    return Sps(
        profile, constraints, level, chroma, bit_depth, num_ref_frames,
        (width, height), size_wh, is_progressive, vui_at, at, reordered, buffered,
    )  # fmt: skip


def without_reordering(nal: bytes) -> bytes:
    """The same SPS that says: no picture is shown later than one that is decoded after it. Only true without B-frames.

    Everything else stays bit for bit. Raises ValueError for anything else.
    """
    sps, rbsp = parse_sps(nal), unescaped(nal)
    if sps.num_reorder_frames == 0:
        return nal
    writer = BitWriter()
    if sps.restriction_at is None:
        writer.copy(rbsp, sps.vui_at)
        writer.u(1, 1)
        writer.u(0, 8)  # aspect ratio, overscan, signal type, chroma location, timing, both HRDs, pic_struct: not said
    else:
        writer.copy(rbsp, sps.restriction_at)
    writer.u(1, 1)
    writer.u(1, 1)  # motion_vectors_over_pic_boundaries_flag
    for value in (2, 1, 16, 16):  # the values that hold where nothing is said: E.2.1
        writer.ue(value)
    writer.ue(0)  # max_num_reorder_frames
    writer.ue(max(1, sps.num_ref_frames))  # max_dec_frame_buffering
    return escaped(writer.with_stop_bit())


def unescaped(nal: bytes) -> bytes:
    """A NAL unit without the bytes that keep start codes out of it."""
    parts = nal.split(b"\0\0\3")
    return b"\0\0".join(parts)


def escaped(rbsp: bytes) -> bytes:
    """The opposite: a 3 after every two zeros that a byte of at most 3 follows."""
    nal = bytearray()
    num_zeros = 0
    for byte in rbsp:
        if num_zeros >= 2 and byte <= 3:
            nal.append(3)
            num_zeros = 0
        nal.append(byte)
        num_zeros = num_zeros + 1 if byte == 0 else 0
    return bytes(nal)


def _chroma_and_depth(reader: BitReader) -> tuple[int, int]:
    chroma = reader.ue()
    if chroma == 3:
        reader.u(1)  # separate_colour_plane_flag
    depth = 8 + reader.ue()
    reader.ue()  # bit_depth_chroma_minus8
    reader.u(1)  # qpprime_y_zero_transform_bypass_flag
    if reader.u(1):  # seq_scaling_matrix_present_flag
        for index in range(12 if chroma == 3 else 8):
            if reader.u(1):
                _skip_scaling_list(reader, 16 if index < 6 else 64)
    return chroma, depth


def _skip_scaling_list(reader: BitReader, length: int) -> None:
    last = following = 8
    for _ in range(length):
        if following:
            following = (last + reader.se()) % 256
        last = following or last


def _skip_picture_order(reader: BitReader) -> None:
    kind = reader.ue()
    if kind == 0:
        reader.ue()  # log2_max_pic_order_cnt_lsb_minus4
    elif kind == 1:
        reader.u(1)
        reader.se()
        reader.se()
        for _ in range(_count(reader.ue())):
            reader.se()


def _count(number: int) -> int:
    if number > _MOST_LISTED:
        raise ValueError(f"an SPS lists at most {_MOST_LISTED} values, got {number}")
    return number


def _restriction(reader: BitReader) -> tuple[int, int | None, int | None]:
    """The bit of bitstream_restriction_flag, and the two numbers that matter; reads the VUI up to its end."""
    if reader.u(1) and reader.u(8) == _EXTENDED_SAR:  # aspect_ratio_info_present_flag
        reader.u(32)
    if reader.u(1):  # overscan_info_present_flag
        reader.u(1)
    if reader.u(1):  # video_signal_type_present_flag
        reader.u(4)
        if reader.u(1):  # colour_description_present_flag
            reader.u(24)
    if reader.u(1):  # chroma_loc_info_present_flag
        reader.ue()
        reader.ue()
    if reader.u(1):  # timing_info_present_flag
        reader.u(65)
    has_hrd = [_skip_hrd(reader) for _ in range(2)]  # of NAL units, and of VCL
    if any(has_hrd):
        reader.u(1)  # low_delay_hrd_flag
    reader.u(1)  # pic_struct_present_flag
    at = reader.position
    if not reader.u(1):
        return at, None, None
    reader.u(1)
    for _ in range(4):
        reader.ue()
    return at, reader.ue(), reader.ue()


def _skip_hrd(reader: BitReader) -> bool:
    """Whether there is one."""
    if not reader.u(1):
        return False
    num = _count(reader.ue()) + 1
    reader.u(8)
    for _ in range(num):
        reader.ue()
        reader.ue()
        reader.u(1)
    reader.u(20)
    return True
