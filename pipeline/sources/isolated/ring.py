"""Ring: pictures of one process → slots of shared memory → another process, which uses them there or copies them out.

The memory is an anonymous file of Linux (memfd_create(2)): it has no name, so that nothing is left of it when both
processes are gone, in whatever way. It is sealed against shrinking, so that no writer can make a reader fault.
"""

from __future__ import annotations

import fcntl
import mmap
import os

import numpy as np
import numpy.typing as npt

NUM_SLOTS = 6
MOST_LENT = 3  # slots that the reader may use for as long as it likes; the others stay for pictures on the way
_PADDING = 64  # bytes after a picture, which libav may read, too
_LEAST_BYTES = 1 << 20
_SEALS = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL

Bytes = npt.NDArray[np.uint8]


class WrittenRing:
    """The writer's side: NUM_SLOTS slots, for pictures of up to `slot_bytes` each.

    number: counts the rings of a connection, from 0 on.
    """

    def __init__(self, slot_bytes: int, *, number: int = 0) -> None:
        page = mmap.PAGESIZE
        size = -(-(max(slot_bytes, _LEAST_BYTES) + _PADDING) // page) * page
        self.number = number
        self.slot_bytes = size - _PADDING
        self.num_bytes = NUM_SLOTS * size
        self._free = [index * size for index in reversed(range(NUM_SLOTS))]  # offsets; the last one is used next
        self.descriptor = os.memfd_create("streamdet-pictures", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        os.ftruncate(self.descriptor, self.num_bytes)
        fcntl.fcntl(self.descriptor, fcntl.F_ADD_SEALS, _SEALS)
        self._bytes = np.frombuffer(mmap.mmap(self.descriptor, self.num_bytes), np.uint8)

    @property
    def is_full(self) -> bool:
        """Whether the reader has every slot."""
        return not self._free

    def take(self) -> tuple[int, Bytes]:
        """The offset and the memory of a free slot, which is no longer free. Raises IndexError if none is."""
        offset = self._free.pop()
        return offset, self._bytes[offset : offset + self.slot_bytes]

    def give_back(self, offset: int) -> None:
        """Let a slot be used again."""
        self._free.append(offset)

    def close(self) -> None:
        """Close the descriptor; the memory stays for as long as somebody has it."""
        os.close(self.descriptor)


class ReadRing:
    """The reader's side. Takes over the descriptor. The memory lives for as long as an array of it does.

    number: counts the rings of a connection, from 0 on.
    Raises ValueError for memory that is smaller than it is said to be, or not sealed.
    """

    def __init__(self, descriptor: int, num_bytes: int, *, number: int = 0) -> None:
        self.number = number
        try:
            seals = fcntl.fcntl(descriptor, fcntl.F_GET_SEALS)
            if seals & _SEALS != _SEALS or not 0 < num_bytes <= os.fstat(descriptor).st_size:
                raise ValueError(f"shared memory must be sealed and have {num_bytes} bytes")
            self._bytes = np.frombuffer(mmap.mmap(descriptor, num_bytes, prot=mmap.PROT_READ), np.uint8)
        except OSError as error:
            raise ValueError("the descriptor must be one of shared memory") from error
        finally:
            os.close(descriptor)

    def slot(self, offset: int) -> Bytes:
        """The memory from there on, read-only. Raises ValueError for an offset outside."""
        if not 0 <= offset < len(self._bytes):
            raise ValueError(f"offset must be in 0..{len(self._bytes)}, got {offset}")
        return self._bytes[offset:]
