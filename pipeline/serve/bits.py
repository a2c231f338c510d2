"""Bits: bytes → fields of a bitstream, and back: fixed lengths and Exp-Golomb codes (ISO/IEC 14496-10, 9.1)."""

from __future__ import annotations


class BitReader:
    """Reads fields from the most significant bit of the first byte on. Raises ValueError beyond the end."""

    def __init__(self, data: bytes) -> None:
        self._bits = int.from_bytes(data, "big")
        self._num_bits = 8 * len(data)
        self.position = 0  # of the next bit

    def u(self, num_bits: int) -> int:
        """An unsigned number of fixed length."""
        end = self.position + num_bits
        if end > self._num_bits:
            raise ValueError(f"a field must end within the {self._num_bits} bits that there are, got {end}")
        self.position = end
        return (self._bits >> (self._num_bits - end)) & ((1 << num_bits) - 1)

    def ue(self) -> int:
        """An unsigned Exp-Golomb code."""
        num_zeros = 0
        while not self.u(1):
            num_zeros += 1
            if num_zeros > 32:
                raise ValueError("an Exp-Golomb code must begin with at most 32 zeros, got more")
        return (1 << num_zeros) - 1 + self.u(num_zeros)

    def se(self) -> int:
        """A signed Exp-Golomb code."""
        code = self.ue()
        return (code + 1) // 2 if code % 2 else -(code // 2)


class BitWriter:
    """Writes fields, each as `BitReader` reads it.

    >>> writer = BitWriter()
    >>> writer.u(0, 4), writer.ue(5), writer.se(-2)
    (None, None, None)
    >>> reader = BitReader(writer.with_stop_bit())
    >>> reader.u(4), reader.ue(), reader.se()
    (0, 5, -2)
    """

    def __init__(self) -> None:
        self._bits = 0
        self.position = 0

    def u(self, value: int, num_bits: int) -> None:
        """An unsigned number of fixed length. Raises ValueError for one that does not fit."""
        if not 0 <= value < 1 << num_bits:
            raise ValueError(f"a field of {num_bits} bits must be in 0..{(1 << num_bits) - 1}, got {value}")
        self._bits = (self._bits << num_bits) | value
        self.position += num_bits

    def ue(self, value: int) -> None:
        """An unsigned Exp-Golomb code."""
        num_bits = (value + 1).bit_length()
        self.u(0, num_bits - 1)
        self.u(value + 1, num_bits)

    def se(self, value: int) -> None:
        """A signed Exp-Golomb code."""
        self.ue(2 * value - 1 if value > 0 else -2 * value)

    def copy(self, data: bytes, num_bits: int) -> None:
        """The first bits of some bytes as they are."""
        self.u(int.from_bytes(data, "big") >> (8 * len(data) - num_bits), num_bits)

    def with_stop_bit(self) -> bytes:
        """All fields, a one, and zeros up to a whole byte (rbsp_trailing_bits)."""
        padding = 7 - self.position % 8
        bits = (self._bits << 1 | 1) << padding
        return bits.to_bytes((self.position + 1 + padding) // 8, "big")
