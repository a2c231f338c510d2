"""CUDA driver: calls → the same calls, in order; a fake of the functions that streamdet calls."""

from __future__ import annotations

import ctypes
from typing import Any


class Driver:
    """The calls that are made, in order; status: what finding the GPU answers; state: its flags, and if it is open."""

    def __init__(self, status: int = 0, state: tuple[int, int] = (0, 0)) -> None:
        self.status, self.calls, self.state = status, list[tuple[str, object]](), state

    def cuDeviceGet(self, pointer: Any, number: int) -> int:  # noqa: N802
        return self.status

    def cuDevicePrimaryCtxSetFlags(self, device: ctypes.c_int, flags: ctypes.c_uint) -> int:  # noqa: N802
        self.calls.append(("flags", flags.value))
        if not self.state[1]:  # without effect once it is open
            self.state = (flags.value, 0)
        return 0

    def cuDevicePrimaryCtxGetState(self, device: ctypes.c_int, flags: Any, is_active: Any) -> int:  # noqa: N802
        flags._obj.value, is_active._obj.value = self.state
        return 0

    def cuDevicePrimaryCtxRetain(self, pointer: Any, device: ctypes.c_int) -> int:  # noqa: N802
        pointer._obj.value, self.state = 42, (self.state[0], 1)
        self.calls.append(("retain", device.value))
        return 0

    def cuCtxPushCurrent_v2(self, context: ctypes.c_void_p) -> int:  # noqa: N802
        self.calls.append(("push", context.value))
        return 0

    def cuCtxPopCurrent_v2(self, pointer: Any) -> int:  # noqa: N802
        self.calls.append(("pop", None))
        return 0

    def cuThreadExchangeStreamCaptureMode(self, mode: Any) -> int:  # noqa: N802
        self.calls.append(("capture mode", mode._obj.value))
        return 0
