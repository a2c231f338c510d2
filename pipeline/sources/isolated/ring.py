"""Ring: pictures of one process → shared memory → another process, which copies each of them out once.

The memory is an anonymous file of Linux (memfd_create(2)): it has no name, so that nothing is left of it when both
processes are gone, in whatever way. It is sealed against shrinking, so that no writer can make a reader fault.
"""

from __future__ import annotations

import fcntl
import mmap
import os

import numpy as np
import numpy.typing as npt

NUM_SLOTS = 4  # pictures that may be on the way
_LEAST_BYTES = 1 << 20
_SEALS = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL

Bytes = npt.NDArray[np.uint8]


class WrittenRing:
    """The writer's side: NUM_SLOTS slots of `slot_bytes` each, used in turn."""

    def __init__(self, slot_bytes: int) -> None:
        page = mmap.PAGESIZE
        self.slot_bytes = -(-max(slot_bytes, _LEAST_BYTES) // page) * page
        self.num_bytes = NUM_SLOTS * self.slot_bytes
        self.descriptor = os.memfd_create("streamdet-pictures", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        os.ftruncate(self.descriptor, self.num_bytes)
        fcntl.fcntl(self.descriptor, fcntl.F_ADD_SEALS, _SEALS)
        self._bytes = np.frombuffer(mmap.mmap(self.descriptor, self.num_bytes), np.uint8)

    def slot(self, number: int) -> tuple[int, Bytes]:
        """The offset and the memory of the slot for the picture of that number."""
        offset = number % NUM_SLOTS * self.slot_bytes
        return offset, self._bytes[offset : offset + self.slot_bytes]

    def close(self) -> None:
        """Close the descriptor; the memory stays for as long as somebody has it."""
        os.close(self.descriptor)


class ReadRing:
    """The reader's side. Takes over the descriptor.

    Raises ValueError for memory that is smaller than it is said to be, or not sealed.
    """

    def __init__(self, descriptor: int, num_bytes: int) -> None:
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
